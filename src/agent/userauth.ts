// What ssh asks an agent to sign: the public key authentication request (RFC 4252 section 7), with OpenSSH's
// host-bound form of it (PROTOCOL section 3.1). Bytes → value. Our key signs this and nothing else, so that it can't
// be used to sign files, git commits or certificates (ssh-keygen -Y, -s): whatever it signs ends with the login.
import { Reader } from '../wire/reader.ts';

const SSH_MSG_USERAUTH_REQUEST = 50;
const hostBound = 'publickey-hostbound-v00@openssh.com';

export interface UserauthRequest {
  sessionId: Buffer;
  user: string;
  algorithm: string;
  keyBlob: Buffer;
  /** Only in the host-bound form, which ssh 8.9 and later use where the server offers it. */
  hostKey: Buffer | undefined;
}

/**
 * string  session identifier
 * byte    SSH_MSG_USERAUTH_REQUEST
 * string  user name
 * string  "ssh-connection"
 * string  "publickey" or "publickey-hostbound-v00@openssh.com"
 * boolean TRUE
 * string  public key algorithm name
 * string  public key
 * string  server host key, in the host-bound form only
 *
 * @throws ProtocolError `agent-sign-data` for anything else
 */
export function parseUserauthRequest(data: Buffer): UserauthRequest {
  const reader = new Reader(data, 'agent-sign-data');
  const sessionId = reader.string();
  if (sessionId.length === 0) throw reader.malformed('an empty session identifier');
  if (reader.byte() !== SSH_MSG_USERAUTH_REQUEST) throw reader.malformed('data that are no login request');
  const user = reader.text();
  if (reader.text() !== 'ssh-connection') throw reader.malformed('a login request for another service');
  const method = reader.text();
  if (method !== 'publickey' && method !== hostBound) throw reader.malformed('a login request by another method');
  if (reader.byte() !== 1) throw reader.malformed('a login request that carries no signature');
  const algorithm = reader.text();
  const keyBlob = reader.string();
  const hostKey = method === hostBound ? reader.string() : undefined;
  reader.end();
  return { sessionId, user, algorithm, keyBlob, hostKey };
}
