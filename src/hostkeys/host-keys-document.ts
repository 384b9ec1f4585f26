// The script and the SSM document that print a node's public host keys. They change nothing and take nothing.
import { type CommandDocument, commandDocument } from '../aws/command-document.ts';

/** sshd says itself which keys it has; where it does not, they are where every OpenSSH has them. */
export const hostKeysScript = `# keyhole: prints the public host keys of this node's sshd.
PATH=$PATH:/usr/sbin:/sbin
files=$(sshd -T -C user=root,host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22 2>/dev/null | sed -n 's/^hostkey \\(.*\\)/\\1.pub/p')
[ -n "$files" ] || files=$(ls /etc/ssh/ssh_host_*_key.pub)
for file in $files; do [ ! -f "$file" ] || cat "$file"; done
`;

export function hostKeysDocument(): CommandDocument {
  return commandDocument({
    description: 'Prints the public host keys of sshd (keyhole)',
    parameters: {},
    name: 'printHostKeys',
    script: hostKeysScript,
  });
}
