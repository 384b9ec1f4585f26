import { fstatSync } from 'node:fs';
import type { Socket } from 'node:net';
import t from 'tap';
import { PeerSocket } from '../../src/daemon/peer-socket.ts';
import { socketPairs } from '../unix-sockets.ts';

const inodeOf = (socket: Socket) => fstatSync((socket as unknown as { _handle: { fd: number } })._handle.fd).ino;

t.test('the other end is there until nobody has it, read or not', { skip: process.platform !== 'linux' }, async (t) => {
  const { client, server } = await (await socketPairs(t))();
  server.pause();
  client.write('bytes that are never read');
  const peer = PeerSocket.find(inodeOf(client));
  t.type(peer, PeerSocket);
  t.equal(peer?.isGone(), false);
  client.destroy();
  await new Promise((resolve) => client.once('close', resolve));
  t.equal(peer?.isGone(), true);
});

t.test('one that can not be seen says nothing', async (t) => {
  t.equal(PeerSocket.find(undefined), undefined);
  t.equal(PeerSocket.find(0), undefined);
  t.equal(PeerSocket.find(Number.MAX_SAFE_INTEGER), undefined);
});
