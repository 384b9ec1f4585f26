// MaxResults and NextToken, as every Describe call has them: the token is opaque and belongs to one query.
import { createHash } from 'node:crypto';
import { ServiceError } from '../errors.ts';

export interface Page<Item> {
  items: Item[];
  nextToken: string | undefined;
}

/** The page of `items` that `token` points at. Throws InvalidNextToken for one that this query did not give out. */
export function page<Item>(items: Item[], size: number, token: unknown, query: unknown): Page<Item> {
  const mark = createHash('sha256').update(JSON.stringify(query)).digest('base64url').slice(0, 16);
  let from = 0;
  if (token !== undefined && token !== '') {
    const match = /^([\w-]{16})\.(\d{1,9})$/.exec(Buffer.from(String(token), 'base64').toString());
    if (match?.[1] !== mark) throw new ServiceError('InvalidNextToken', 'The specified token is not valid.');
    from = Number(match[2]);
  }
  const to = from + size;
  const nextToken = to < items.length ? Buffer.from(`${mark}.${to}`).toString('base64') : undefined;
  return { items: items.slice(from, to), nextToken };
}
