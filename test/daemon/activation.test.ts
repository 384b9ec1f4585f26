// sd_listen_fds(3)
import t from 'tap';
import { inheritedSocket } from '../../src/daemon/activation.ts';

t.test('a socket is there only for the process that it was passed to', async (t) => {
  t.equal(inheritedSocket({ LISTEN_PID: '7', LISTEN_FDS: '1' }, 7), 3);
  t.equal(inheritedSocket({ LISTEN_PID: '7', LISTEN_FDS: '2' }, 7), 3);
  t.equal(inheritedSocket({ LISTEN_PID: '7', LISTEN_FDS: '1' }, 8), undefined, 'a child');
  t.equal(inheritedSocket({ LISTEN_PID: '7' }, 7), undefined);
  t.equal(inheritedSocket({ LISTEN_PID: '7', LISTEN_FDS: '0' }, 7), undefined);
  t.equal(inheritedSocket({ LISTEN_FDS: '1' }, 7), undefined);
});
