// A process that listens on descriptor 3, which is at the path it is given, until it is told how to close it.
import { systemClock } from '../../src/clock.ts';
import { ControlListener } from '../../src/daemon/listener.ts';

const listener = await ControlListener.listen({
  path: process.argv[2]!,
  inherited: 3,
  clock: systemClock,
  onConnection: (socket) => socket.destroy(),
  onReplaced: () => {},
});
process.stdout.write('listening\n');
process.stdin.once('data', (how) => listener.close({ staying: String(how) === 'staying' }));
