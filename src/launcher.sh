#!/bin/sh
# keyhole: finds Node.js and becomes it, or perl where that will do. One process, no other on the way: ssh waits for this.
# POSIX sh (dash, bash, busybox). Order of search: KEYHOLE_NODE, installed beside, a checkout's own, PATH.

self=$0
while [ -h "$self" ]; do
  link=$(readlink "$self") || break
  case $link in
    /*) self=$link ;;
    *) self=${self%/*}/$link ;;
  esac
done
case $self in
  */*) dir=${self%/*} ;;
  *) dir=. ;;
esac

node=${KEYHOLE_NODE-}
if [ -z "$node" ]; then
  node=node
  for candidate in "$dir/node/bin/node" "$dir/node" "$dir/../lib/keyhole/node/bin/node" "$dir/../node_modules/.bin/node"; do
    if [ -f "$candidate" ] && [ -x "$candidate" ]; then
      node=$candidate
      break
    fi
  done
fi
if ! command -v "$node" >/dev/null 2>&1; then
  echo "keyhole: there is no Node.js: ${KEYHOLE_NODE:-node is not on PATH}" >&2
  echo 'keyhole: hint: install Node.js 22.12 or newer, or let KEYHOLE_NODE name it' >&2
  exit 1
fi
# A tunnel makes much garbage that is young, buffers above all. V8 lets it grow by some 25 MB before it looks, at no gain
# here (same CPU, same start); with the smallest young generation it looks sooner. No other flag of V8 stands here, and none is
# set later: with one Node compiles all its own modules anew at every start (13 ms, Node 24.21), and V8 aborts where a job that is
# under way meets the change. (--no-incremental-marking would save 0.5 to 1 s of CPU per GB through an endpoint.)
set -- "$node" --max-semi-space-size=1 "$dir/lib/main.js" "$@"

# With ProxyUseFdpass ssh gives one socket as stdin and stdout, and waits for a descriptor on it; every other client gives
# pipes or two sockets.
channel=
if [ "${4-}" = proxy ]; then
  case ${KEYHOLE_FDPASS-} in
    0) ;;
    1) channel=1 ;;
    *) if [ -S /dev/fd/1 ] && [ /dev/fd/0 -ef /dev/fd/1 ]; then channel=1; fi ;;
  esac
fi
# Where a daemon listens, its socket can be passed without Node; warm.pl becomes Node where it can't. perl is to be as it comes.
if [ -n "$channel" ] && [ -x /usr/bin/perl ] && [ -z "${PERL5OPT-}${PERLIO-}${PERL_UNICODE-}" ]; then
  sockets=${KEYHOLE_RUNTIME_DIR-}
  case ${5-} in --runtime-dir=*) sockets=${5#*=} ;; esac # as `keyhole setup` writes it
  if [ -S "${sockets:-${HOME-}/.ssh/keyhole}/control.sock" ]; then
    exec /usr/bin/perl "$dir/lib/warm.pl" "$@" 3>&2 2>/dev/null
  fi
fi

# Every NODE_* can break us: NODE_OPTIONS with a preload that prints (VS Code sets one), NODE_DEBUG, a stale
# NODE_CHANNEL_FD. Only the extra certificate authorities are meant for us.
newline='
'
ifs=$IFS
IFS=$newline
set -f
for line in $(export -p); do
  case $line in
    'export NODE_'* | 'declare -x NODE_'*) ;;
    *) continue ;;
  esac
  variable=${line#export }
  variable=${variable#declare -x }
  variable=${variable%%=*}
  case $variable in
    NODE_EXTRA_CA_CERTS | *[!A-Za-z0-9_]*) ;;
    *) unset "$variable" ;;
  esac
done
set +f
IFS=$ifs

# The channel over which Node can pass a descriptor (helper/hand-over.ts).
if [ -n "$channel" ]; then export NODE_CHANNEL_FD=1; fi
exec "$@"
