import type { Socket } from 'node:net';
import t from 'tap';
import { FrameType, maxFrameLength, serializeFrame } from '../../src/control/frame.ts';
import { ControlLink, expectFrame } from '../../src/control/link.ts';
import { turn } from '../manual-clock.ts';
import { socketPairs } from '../unix-sockets.ts';

function readText(socket: Socket, length: number): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    socket.on('data', function take(chunk: Buffer) {
      text += chunk.toString('latin1');
      if (text.length < length) return;
      socket.off('data', take);
      resolve(text);
    });
    socket.resume();
  });
}

t.test('frames sent together are received one by one, also those that came before anybody asked', async (t) => {
  const pair = await (await socketPairs(t))();
  const [ours, theirs] = [new ControlLink(pair.client), new ControlLink(pair.server)];
  ours.send(FrameType.progress, { text: 'one' });
  ours.send(FrameType.progress, { text: 'two' });
  t.strictSame(await theirs.receive(), { type: FrameType.progress, body: { text: 'one' } });
  await turn();
  t.strictSame(await theirs.receive(), { type: FrameType.progress, body: { text: 'two' } });
});

t.test('2,000 hand-overs in relay mode lose no byte and double none', async (t) => {
  const open = await socketPairs(t);
  let good = 0;
  for (let n = 0; n < 2_000; n++) {
    const { client, server } = await open();
    const [helper, daemon] = [new ControlLink(client), new ControlLink(server)];
    daemon.send(FrameType.ready);
    expectFrame(await helper.receive(), FrameType.ready);
    // `go` and ssh's words in one write, in two, or with a turn between.
    const words = `SSH-2.0-client ${n}\r\n`;
    if (n % 3 === 0) client.write(Buffer.concat([serializeFrame(FrameType.go), Buffer.from(words)]));
    else {
      helper.send(FrameType.go);
      if (n % 3 === 1) await turn();
      client.write(words);
    }
    const helperSide = helper.release();
    const daemonSide = await daemon.receive().then((frame) => {
      expectFrame(frame, FrameType.go);
      return daemon.release();
    });
    const banner = `SSH-2.0-target ${n}\r\n`;
    daemonSide.write(banner);
    const [up, down] = await Promise.all([readText(daemonSide, words.length), readText(helperSide, banner.length)]);
    if (up === words && down === banner) good += 1;
    client.destroy();
    server.destroy();
  }
  t.equal(good, 2_000);
});

t.test('2,000 hand-overs in fd mode: nothing is sent before the first bytes, and those are all there', async (t) => {
  const open = await socketPairs(t);
  let good = 0;
  for (let n = 0; n < 2_000; n++) {
    const { client, server } = await open();
    const [helper, daemon] = [new ControlLink(client), new ControlLink(server)];
    daemon.send(FrameType.ready);
    const first = daemon.firstBytes();
    expectFrame(await helper.receive(), FrameType.ready);
    // The helper has done; whoever has the socket now speaks at once, in one piece or in two.
    const ssh = helper.release();
    const words = `SSH-2.0-client ${n}\r\n`;
    ssh.write(words.slice(0, 1 + (n % words.length)));
    if (n % 2 === 0) await turn();
    ssh.write(words.slice(1 + (n % words.length)));
    const daemonSide = await first;
    const banner = `SSH-2.0-target ${n}\r\n`;
    daemonSide.write(banner);
    const [up, down] = await Promise.all([readText(daemonSide, words.length), readText(ssh, banner.length)]);
    if (up === words && down === banner) good += 1;
    client.destroy();
    server.destroy();
  }
  t.equal(good, 2_000);
});

t.test('words and end of file behind go are all still there', async (t) => {
  const { client, server } = await (await socketPairs(t))();
  const daemon = new ControlLink(server);
  client.end(Buffer.concat([serializeFrame(FrameType.go), Buffer.from('last words')]));
  expectFrame(await daemon.receive(), FrameType.go);
  const socket = daemon.release();
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  const ended = new Promise((resolve) => socket.once('end', resolve));
  socket.resume();
  await ended;
  t.equal(text, 'last words');
});

t.test('a peer that goes away is told to the receiver, to who waits for first bytes, and by the signal', async (t) => {
  const open = await socketPairs(t);
  for (const end of ['end', 'destroy'] as const) {
    const receiving = await open();
    const link = new ControlLink(receiving.server);
    const received = link.receive();
    receiving.client[end]();
    await t.rejects(received, { code: 'control-closed' });
    t.ok(link.closed.aborted);
    await t.rejects(link.receive(), { code: 'control-closed' }, 'also afterwards');
    await t.rejects(link.firstBytes(), { code: 'control-closed' }, 'and for first bytes');

    const waiting = await open();
    const first = new ControlLink(waiting.server).firstBytes();
    waiting.client[end]();
    await t.rejects(first, { code: 'control-closed' });
  }
});

t.test('frames that came before the end are received before it', async (t) => {
  const { client, server } = await (await socketPairs(t))();
  const link = new ControlLink(server);
  client.end(serializeFrame(FrameType.done));
  await new Promise((resolve) => server.once('end', resolve));
  t.equal((await link.receive()).type, FrameType.done);
  await t.rejects(link.receive(), { code: 'control-closed' });
});

t.test('what is no frame is told once as such, and then the link is done', async (t) => {
  const { client, server } = await (await socketPairs(t))();
  const link = new ControlLink(server);
  client.write('GET / HTTP/1.1\r\n');
  await t.rejects(link.receive(), { code: 'control-frame' });
  await t.rejects(link.receive(), { code: 'control-frame' });
  t.ok(link.closed.aborted);
});

t.test('a peer that talks on without being asked is cut off', async (t) => {
  const { client, server } = await (await socketPairs(t))();
  const link = new ControlLink(server);
  client.on('error', () => {});
  const closed = new Promise((resolve) => client.once('close', resolve));
  let written = 0;
  const chunk = Buffer.alloc(64 * 1024);
  const write = () => {
    while (!client.destroyed && client.write(chunk)) written += chunk.length;
  };
  client.on('drain', write);
  write();
  await closed;
  t.ok(link.closed.aborted);
  t.ok(written < 4 * maxFrameLength, `${written} bytes were taken or on their way`);
});

t.test('a second receiver is a mistake that shows', async (t) => {
  const { server } = await (await socketPairs(t))();
  const link = new ControlLink(server);
  const first = link.receive();
  await t.rejects(link.receive(), /somebody waits/);
  server.destroy();
  await t.rejects(first, { code: 'control-closed' });
});

t.test('a frame in the wrong place is refused', async (t) => {
  t.throws(() => expectFrame({ type: FrameType.go, body: {} }, FrameType.ready), { code: 'control-order' });
  t.strictSame(expectFrame({ type: FrameType.go, body: { a: 1 } }, FrameType.go), { a: 1 });
});
