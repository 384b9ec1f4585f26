# keeper.sh FOLDER COMMAND [ARGUMENT]…: runs COMMAND, a server, until standard input ends; then ends it with everything
# that it started, and removes FOLDER. Who holds the other end of the pipe may be killed in any way. Linux and others;
# where there is no /proc only the server itself is ended, and a connection when its peer is gone.

end() {
  for child in $(cat "/proc/$1/task/$1/children"); do end "$child"; done
  kill "$1"
}

folder=$1
shift
"$@" &
server=$!
exec 2>/dev/null # The server's alone from now on, so that its reader sees it end.
read -r _
end "$server"
wait "$server"
rm -rf "$folder"
