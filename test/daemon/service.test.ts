import t from 'tap';
import { FrameType, serializeFrame } from '../../src/control/frame.ts';
import { ControlLink } from '../../src/control/link.ts';
import { protocolVersion } from '../../src/control/message.ts';
import { version } from '../../src/version.ts';
import { socketPairs } from '../unix-sockets.ts';
import { conversation, openSessions, setStage, until } from './stage.ts';

t.test('hello comes at once, with version and pid', async (t) => {
  const stage = await setStage(t);
  const { client, server } = await (await socketPairs(t))();
  void stage.service.accept(server);
  const link = new ControlLink(client);
  t.strictSame(await link.receive(), {
    type: FrameType.hello,
    body: { protocol: protocolVersion, version, pid: process.pid },
  });
});

t.test('status may be asked again and again on one connection', async (t) => {
  const stage = await setStage(t);
  const link = await stage.connect();
  for (let n = 0; n < 3; n++) {
    link.send(FrameType.status);
    t.match(await link.receive(), { type: FrameType.statusReply, body: { version, draining: false, tunnels: [] } });
  }
  link.socket.destroy();
  await until('it is over', () => stage.idle() === 1);
});

t.test('one that drains takes no new tunnel, also from who had connected before, and keeps the old ones', async (t) => {
  const stage = await setStage(t);
  const [old, late] = [await stage.connect(), await stage.connect()];
  old.send(FrameType.open, stage.request());
  await conversation(stage, old, FrameType.ready);
  stage.service.drain();
  late.send(FrameType.open, stage.request());
  await t.rejects(late.receive(), { code: 'control-closed' }, 'no word, so that the helper looks further');
  t.equal(openSessions(stage.region), 1);
  t.ok(stage.service.busy);
  old.socket.destroy();
  await until('the old one is over', () => !stage.service.busy);
});

t.test('what has no place is refused with a word, and hurts nobody else', async (t) => {
  const stage = await setStage(t);
  const pairs = await socketPairs(t);
  const other = await stage.connect();
  const talk = async (...bytes: Buffer[]) => {
    const { client, server } = await pairs();
    void stage.service.accept(server);
    const link = new ControlLink(client);
    await link.receive();
    client.write(Buffer.concat(bytes));
    return await link.receive();
  };
  const hello = serializeFrame(FrameType.hello, { protocol: 1, version: '1.0.0', pid: 1 });
  t.match(await talk(Buffer.from('GET / HTTP/1.1\r\n\r\n')), {
    type: FrameType.error,
    body: { code: 'control-frame' },
  });
  t.match(await talk(serializeFrame(FrameType.status)), { type: FrameType.error, body: { code: 'control-order' } });
  t.match(await talk(hello, serializeFrame(FrameType.go)), { type: FrameType.error, body: { code: 'control-order' } });
  t.match(await talk(hello, serializeFrame(FrameType.open)), {
    type: FrameType.error,
    body: { code: 'control-message' },
  });
  other.send(FrameType.status);
  t.equal((await other.receive()).type, FrameType.statusReply);
});
