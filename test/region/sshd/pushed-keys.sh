# pushed-keys.sh FOLDER USER, as sshd's AuthorizedKeysCommand: the keys that are valid for USER now, one a line. Like
# EC2 Instance Connect's own command it passes on those lines only that start with "ssh-" (protocol.md 9.6).

[ -r "$1/$2" ] || exit 0
while IFS= read -r line; do
  case $line in ssh-*) printf '%s\n' "$line" ;; esac
done <"$1/$2"
