// An ssh that survives (issue 5): each fault with one seed and one direction, the network away, the machine asleep; side by
// side, since most of the time all of them wait. scripts/faults, whose comment is its manual, does all of the matrix.
import t from 'tap';
import { Random } from '../sim/random.ts';
import { cells } from './fault-cells.ts';
import { loggedOut } from './fault-login.ts';
import { runMatrix } from './fault-matrix.ts';
import { daemonStopped, networkAway } from './fault-outages.ts';

const seed = Date.now() % 1e9;
const timeoutMs = 200_000;
const freight = { seed, upBytes: 8e6, downBytes: 5e5 };
const outage = { ...freight, ms: 12_000 };
const random = new Random(seed, 'directions');
const some = cells
  .filter(({ long }) => !long)
  .map((cell) => ({ ...cell, directions: [random.pick(cell.directions ?? (['up', 'down'] as const))] }));

t.jobs = 4;
t.comment(`seed ${seed}; again with: scripts/faults --seeds 1 --from ${seed}`);
t.test('every fault is survived with all bytes', { buffered: true }, (t) =>
  runMatrix(t, { ...freight, cells: some, timeoutMs }),
);
t.test('the network is away for 12 s', { buffered: true }, (t) => networkAway(t, { ...outage, idle: 10 }));
t.test('credentials that only the user can renew are waited for', { buffered: true }, loggedOut);
t.test('the daemon is stopped for 12 s', { buffered: true }, (t) => daemonStopped(t, { ...outage, idle: 1 }));
