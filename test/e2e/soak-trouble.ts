// The troubles of the soak: one at a time for a session, drawn from a seed. Those that nobody can survive are left out, see
// fault-cells.ts.
import type { Faults } from '../region/gateway/faults.ts';
import type { Region } from '../region/region.ts';
import type { Random } from '../sim/random.ts';
import type { LifePlan } from './soak-life.ts';

/** Something happens to a session now. */
export function strike(region: Region, sessionId: string, { kind }: LifePlan, random: Random): void {
  const cut = () => {
    const code = random.pick([1000, 1001, 1006, 1011]);
    region.cut(random.chance(0.5) ? { by: 'reset' } : { by: 'close', code }, sessionId);
  };
  const refuse = () => {
    const code = random.pick(['ThrottlingException', 'InternalServerError']);
    const status = code === 'InternalServerError' ? 500 : 400;
    region.apiFaults.fail('ResumeSession', { code, status, times: random.integer(1, 3), sessionId });
    cut();
  };
  const refuseToken = () => {
    region.refuseTokens(1, sessionId);
    cut();
  };
  const freeze = () => region.cut({ by: 'freeze', ms: random.integer(100, 4_000) }, sessionId);
  const cutAgent = () =>
    region.cutAgent({ ms: random.integer(5, 500), meanwhile: random.pick(['buffer', 'drop']) }, sessionId);
  const carriesUp = kind === 'up' || kind === 'talk';
  random.pick([cut, cut, cut, refuse, refuseToken, freeze, ...(carriesUp ? [] : [cutAgent])])();
}

/** What the way to an instance is like from now on. */
export function garble(faults: Faults, random: Random): void {
  faults.clear();
  if (random.chance(0.5)) return;
  for (const way of [faults.up, faults.down]) {
    if (random.chance(0.3)) way.lose = random.between(0, 0.02);
    if (random.chance(0.3)) way.double = random.between(0, 0.05);
    if (random.chance(0.3)) way.reorder = random.between(0, 0.05);
    if (random.chance(0.3)) way.delayMs = random.integer(1, 100);
  }
  if (random.chance(0.3)) faults.down.corrupt = 0.001;
}
