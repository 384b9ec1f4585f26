// Ed25519 keys for sshds and logins. ssh2's generator (keygen.js, 1.17.0) drops leading zero bytes of the public key, so
// that one key in 256 is refused by OpenSSH ("error in libcrypto"); such a key is not handed out.
import ssh2 from 'ssh2';

/** Length of the public key's blob: string "ssh-ed25519", string of 32 bytes (RFC 8709 section 4). */
const blobBytes = 4 + 11 + 4 + 32;

export interface KeyPair {
  /** OpenSSH's own form. */
  private: string;
  /** `ssh-ed25519 AAAA… comment` */
  public: string;
}

export function generateKeyPair(comment = ''): KeyPair {
  for (;;) {
    const pair = ssh2.utils.generateKeyPairSync('ed25519', { comment });
    if (Buffer.from(pair.public.split(' ')[1] ?? '', 'base64').length === blobBytes) return pair;
  }
}
