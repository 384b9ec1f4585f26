// Which account an access key belongs to, without a call: its id says so. AWS does not document the form, so nothing but
// the sharing of a queue depends on it.

const base32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
/** The account is in the 40 bits behind the first of what follows the four letters of the key's kind (AKIA, ASIA). */
const accountKey = /^[A-Z]{4}([A-Z2-7]{16})$/;

/** Names the account; keys whose account can't be told each stand for one. */
export function accountOf(accessKeyId: string): string {
  const digits = accountKey.exec(accessKeyId)?.[1];
  if (digits === undefined) return accessKeyId;
  let bits = 0n;
  for (const digit of digits) bits = (bits << 5n) | BigInt(base32.indexOf(digit));
  return String((bits >> 39n) & 0xff_ffff_ffffn).padStart(12, '0');
}
