// The script that lets a key in on a node where EC2 Instance Connect can't: it runs there as root, by the SSM agent, in
// `/bin/sh -c FILE`. It must never be put together from what somebody typed: its three values have an alphabet without
// any character that a shell minds, which is checked here, by AWS and by the agent (push-document.ts).
import { KeyholeError } from '../errors.ts';

export interface PushValues {
  /** Login name. */
  user: string;
  /** The base64 of an ssh-ed25519 key. */
  key: string;
  /** How long the key is good. */
  seconds: string;
}

/** What each value has to look like: POSIX portable names, the one kind of key there is, and 30 to 999 seconds. */
export const pushPatterns: Record<keyof PushValues, RegExp> = {
  // No digit first: getent takes a number for a user id.
  user: /^[A-Za-z_][A-Za-z0-9._-]{0,31}$/,
  key: /^AAAAC3NzaC1lZDI1NTE5AAAAI[A-Za-z0-9+/]{43}$/,
  seconds: /^([3-9][0-9]|[1-9][0-9]{2})$/,
};

/**
 * The values of a push, if each is one that may be sent.
 * @param publicKey one line of authorized_keys; what comes behind the key itself stays here
 * @throws KeyholeError `push-refused`
 */
export function pushValues(publicKey: string, user: string, validMs: number): PushValues {
  const [, key = ''] = /^ssh-ed25519 ([A-Za-z0-9+/=]+)(?: keyhole)?$/.exec(publicKey) ?? [];
  const values = { user, key, seconds: String(Math.round(validMs / 1_000)) };
  for (const [name, pattern] of Object.entries(pushPatterns)) {
    const value = values[name as keyof PushValues];
    // In JavaScript, unlike elsewhere, $ is the end of the text and not of a line too.
    if (!pattern.test(value)) throw refused(name as keyof PushValues, value);
  }
  return values;
}

/** The script with its values in place, for AWS-RunShellScript, which knows no parameters. @throws as pushValues */
export function pushScriptFor(values: PushValues): string {
  return pushScript.replace(/\{\{ (\w+) \}\}/g, (_, name: keyof PushValues) => {
    if (!pushPatterns[name].test(values[name])) throw refused(name, values[name]);
    return values[name];
  });
}

function refused(name: keyof PushValues, value: string): KeyholeError {
  const [what, hint] = {
    user: [
      `the login name ${JSON.stringify(value).slice(0, 80)} is not pushed to a node`,
      'over SSM a login name has letters, digits, ".", "_" and "-", begins with a letter or "_", and has 32 at most',
    ],
    key: ['what is to be pushed is not an ssh-ed25519 key', 'this is a bug of keyhole; please report it'],
    seconds: [`a key can't be pushed for ${value} s`, 'the setting push_lifetime takes 30s to 999s'],
  }[name] as [string, string];
  return new KeyholeError('push-refused', what, { hint });
}

/**
 * Adds one line to the user's authorized_keys, with an expiry-time, and takes out those of ours whose time is over.
 * - Time: `expiry-time` is known since OpenSSH 7.7, `Z` for UTC since 9.1 (misc.c, parse_absolute_time); before, it is
 *   local time, and of one that comes twice, when clocks are set back, sshd may take either: then the next that comes once
 *   is written. The node's clock is the one that counts, and ours in no way.
 * - The file is changed by its owner's own hand (su), so a link or pipe put in the way gains nobody anything; one that is
 *   there is refused all the same. What is not a line of ours comes out byte for byte; ours goes first, so that the last
 *   line may lack its end.
 * - The new file is renamed over the old, with its owner, group, mode, ACL and SELinux context. Runs wait for each other by
 *   a lock on the folder, which leaves no file and ends with its process.
 *
 * It must hold in dash, bash and busybox's ash, with their tools; `{{` and `$$` mean something to the agent.
 */
export const pushScript = String.raw`# keyhole: lets a key log in for a short while. Adds one line to the user's authorized_keys that sshd does not take after
# its time, removes such lines whose time is over, and leaves everything else in the file as it is.
export LC_ALL=C keyhole_user='{{ user }}' keyhole_key='{{ key }}' keyhole_seconds='{{ seconds }}'
PATH=$PATH:/usr/sbin:/sbin
fail() {
  echo "keyhole: $*" >&2
  exit 1
}
for tool in getent flock; do command -v "$tool" >/dev/null || fail "there is no $tool on the node"; done

entry=$(getent passwd "$keyhole_user") || fail "there is no user $keyhole_user on the node"
IFS=: read -r name password uid gid about keyhole_home shell <<END
$entry
END
export keyhole_home

version=$(sshd -V 2>&1 | sed -n 's/.*OpenSSH_\([0-9]*\)\.\([0-9]*\).*/\1 \2/p' | sed 1q)
set -- $version
[ $# -eq 2 ] || set -- 7 7
version=$(($1 * 100 + $2))
[ "$version" -ge 707 ] || fail "sshd on the node is OpenSSH $1.$2; keys with an end need 7.7 or newer"

now=$(date +%s)
export keyhole_end=$((now + keyhole_seconds))
if [ "$version" -ge 901 ]; then
  stamp=$(date -u -d "@$keyhole_end" +%Y%m%d%H%M%SZ)
else
  unset TZ
  at() { date -d "@$1" +%Y%m%d%H%M%S; }
  unique=$keyhole_end
  stamp=$(at "$unique")
  while [ "$stamp" = "$(at $((unique + 3600)))" ] || [ "$stamp" = "$(at $((unique - 3600)))" ]; do
    unique=$((unique + 900))
    stamp=$(at "$unique")
  done
fi
[ -n "$stamp" ] || fail 'date on the node does not take a number of seconds'
export keyhole_line="expiry-time=\"$stamp\" ssh-ed25519 $keyhole_key keyhole:$keyhole_end"

as_user() {
  if [ "$(id -u)" = "$uid" ]; then
    /bin/sh -s
  else
    su -s /bin/sh -c '/bin/sh -s' "$keyhole_user"
  fi
}
as_user <<'END'
fail() {
  echo "keyhole: $*" >&2
  exit 1
}
umask 077
cd "$keyhole_home" 2>/dev/null || fail "$keyhole_user has no home at $keyhole_home"
made=
[ -e .ssh ] || [ -L .ssh ] || { mkdir .ssh 2>/dev/null && made=yes; }
[ ! -L .ssh ] || fail "$keyhole_home/.ssh is a link, which is not followed"
[ -d .ssh ] || fail "$keyhole_home/.ssh is not a folder"
[ -O .ssh ] || fail "$keyhole_home/.ssh does not belong to $keyhole_user"
cd .ssh && exec 9<. && flock 9 || fail "$keyhole_home/.ssh can't be locked"

file=authorized_keys
fresh=.authorized_keys.keyhole
rm -f "$fresh"
read_only=
if [ -e "$file" ] || [ -L "$file" ]; then
  [ ! -L "$file" ] || fail "$keyhole_home/.ssh/$file is a link, which is not followed"
  [ -f "$file" ] || fail "$keyhole_home/.ssh/$file is not a file"
  [ -O "$file" ] || fail "$keyhole_home/.ssh/$file does not belong to $keyhole_user"
  cp -p "$file" "$fresh" || fail "$keyhole_home/.ssh can't be written"
  chcon --reference="$file" "$fresh" 2>/dev/null
  [ -w "$fresh" ] || { chmod u+w "$fresh" && read_only=yes; }
else
  : >"$fresh" || fail "$keyhole_home/.ssh can't be written"
  made=yes
  file=/dev/null
fi

# Ours are those of this key, of which there is one line at most, and those whose time is over, or never comes.
ours='expiry-time="[0-9]*Z*" ssh-ed25519 [A-Za-z0-9+/]* keyhole:'
set -- -e "\\|^expiry-time=\"[0-9]*Z*\" ssh-ed25519 $keyhole_key keyhole:[0-9]*\$|d"
now=$(date +%s)
for end in $(sed -n "s|^$ours\([0-9][0-9]*\)\$|\1|p" "$file"); do
  [ "$end" -gt "$now" ] && [ "$end" -lt $((now + 1000)) ] || set -- "$@" -e "\\|^$ours$end\$|d"
done
{ printf '%s\n' "$keyhole_line" && sed "$@" "$file"; } >"$fresh" || {
  rm -f "$fresh"
  fail "$keyhole_home/.ssh can't be written"
}
[ -z "$read_only" ] || chmod u-w "$fresh"
mv -f "$fresh" authorized_keys || fail "$keyhole_home/.ssh can't be written"
[ -z "$made" ] || ! command -v restorecon >/dev/null || restorecon . authorized_keys 2>/dev/null
echo "keyhole: the key of $keyhole_user is good until $(date -d "@$keyhole_end")"
END
`;
