// An ssh that survives (issue 5): the matrix of faults with one seed, the network away, the machine asleep; side by side,
// since most of the time all of them wait. scripts/faults, whose comment is its manual, does more of it.
import t from 'tap';
import { cells } from './fault-cells.ts';
import { loggedOut } from './fault-login.ts';
import { runMatrix } from './fault-matrix.ts';
import { daemonStopped, networkAway } from './fault-outages.ts';

const seed = Date.now() % 1e9;
const timeoutMs = 200_000;
const outage = { seed, upBytes: 20e6, downBytes: 3e6, ms: 30_000 };

t.jobs = 4;
t.comment(`seed ${seed}; again with: scripts/faults --seeds 1 --from ${seed}`);
t.test('every fault is survived with all bytes', { buffered: true }, (t) =>
  runMatrix(t, { cells: cells.filter(({ long }) => !long), seed, upBytes: 20e6, downBytes: 3e6, timeoutMs }),
);
t.test('the network is away for 30 s', { buffered: true }, (t) => networkAway(t, { ...outage, idle: 10 }));
t.test('credentials that only the user can renew are waited for', { buffered: true }, loggedOut);
t.test('the daemon is stopped for 30 s', { buffered: true }, (t) => daemonStopped(t, { ...outage, idle: 1 }));
