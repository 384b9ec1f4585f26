// Which instance has a Name tag. What was found is known for a minute, for the caller's AWS settings it was found with;
// connections that come together ask EC2 once. Names are what anybody wrote who may tag: none gets into a message unless it
// could be typed as a host.
import type { Ec2Api, NamedInstance } from '../aws/ec2.ts';
import type { Clock } from '../clock.ts';
import { KeyholeError } from '../errors.ts';
import { nearest } from '../nearest.ts';
import { printable } from '../printable.ts';
import { within } from '../within.ts';
import type { Call } from './call.ts';
import { isName } from './host.ts';

export interface NameQuestion {
  nameTag: string;
  /** Whether one that is stopped will do: it is going to be started. */
  stoppedToo: boolean;
  aws: {
    /** Names the settings. */
    readonly id: string;
    readonly region: string;
    readonly ec2: Pick<Ec2Api, 'describeNamedInstances'>;
  };
}

interface Memory {
  until: number;
  instanceId: string;
}

const keptMs = 60_000;
const maxKept = 500;
/** Of an error's list. */
const maxShown = 8;
const maxNearMisses = 3;
const up = ['pending', 'running'];
const down = ['stopping', 'stopped'];

export class InstanceNames {
  readonly #clock: Clock;
  readonly #known = new Map<string, Memory>();
  readonly #finding = new Map<string, Promise<string>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The id of the host. @throws as find */
  async idOf(
    { host, settings }: Pick<Call, 'host' | 'settings'>,
    aws: NameQuestion['aws'],
    signal: AbortSignal,
  ): Promise<string> {
    if (!('nameTag' in host)) return host.instanceId;
    return await this.find({ nameTag: host.nameTag, stoppedToo: settings.start, aws }, signal);
  }

  /** A connection to the host failed: the name may mean another instance by now. */
  forgetHost({ host, settings }: Pick<Call, 'host' | 'settings'>, aws: NameQuestion['aws']): void {
    if ('nameTag' in host) this.forget({ nameTag: host.nameTag, stoppedToo: settings.start, aws });
  }

  /** The id of the only instance with the name. @throws KeyholeError `name-ambiguous`, `name-unknown`; AwsError of EC2 */
  async find(question: NameQuestion, signal: AbortSignal): Promise<string> {
    const key = keyOf(question);
    const known = this.#known.get(key);
    if (known !== undefined && known.until > this.#clock.now()) return known.instanceId;
    let finding = this.#finding.get(key);
    if (finding === undefined) {
      finding = this.#find(question).finally(() => this.#finding.delete(key));
      this.#finding.set(key, finding);
    }
    // Not given up with the first caller: the others wait for it too.
    return await within(signal, finding);
  }

  forget(question: NameQuestion): void {
    this.#known.delete(keyOf(question));
  }

  async #find(question: NameQuestion): Promise<string> {
    const instanceId = await findInstance(question);
    const key = keyOf(question);
    this.#known.delete(key); // the newest is the last
    this.#known.set(key, { until: this.#clock.now() + keptMs, instanceId });
    if (this.#known.size > maxKept) this.#known.delete(this.#known.keys().next().value!);
    return instanceId;
  }
}

function keyOf({ nameTag, stoppedToo, aws }: NameQuestion): string {
  return [aws.id, stoppedToo, nameTag].join(' ');
}

async function findInstance(question: NameQuestion): Promise<string> {
  const { nameTag, stoppedToo, aws } = question;
  const exact = await aws.ec2.describeNamedInstances(nameTag, stoppedToo ? [...up, ...down] : up);
  const found = pick(question, exact);
  if (found !== undefined) return found.id;
  // EC2's filters know case, and ssh has lower-cased the name.
  const all = await aws.ec2.describeNamedInstances(undefined, [...up, ...down]);
  const alike = all.filter(({ name }) => name.toLowerCase() === nameTag.toLowerCase());
  const meant = pick(question, stoppedToo ? alike : alike.filter(isUp));
  if (meant !== undefined) return meant.id;
  throw unknownName(question, alike, all);
}

/** The only one; of those, one that runs before one that does not. @throws KeyholeError `name-ambiguous` */
function pick(question: NameQuestion, instances: NamedInstance[]): NamedInstance | undefined {
  const running = instances.filter(isUp);
  const candidates = running.length > 0 ? running : instances;
  if (candidates.length <= 1) return candidates[0];
  const { nameTag, aws } = question;
  const shown = candidates.slice(0, maxShown).map(describe).join('; ');
  const more = candidates.length > maxShown ? `; and ${candidates.length - maxShown} more` : '';
  throw new KeyholeError(
    'name-ambiguous',
    `${candidates.length} instances in ${aws.region} have the name ${nameTag}: ${shown}${more}`,
    { hint: `name one by its id, such as ${candidates[0]!.id}.${aws.region}` },
  );
}

function isUp({ state }: NamedInstance): boolean {
  return up.includes(state);
}

function describe({ id, zone, state, launchedAt }: NamedInstance): string {
  const launched = launchedAt === undefined ? '' : `, launched ${launchedAt.replace(/\.\d+Z$/, 'Z')}`;
  return printable(`${id} (${zone ?? 'zone unknown'}, ${state}${launched})`);
}

function unknownName({ nameTag, aws }: NameQuestion, alike: NamedInstance[], all: NamedInstance[]): KeyholeError {
  const [stopped] = alike;
  if (stopped !== undefined) {
    return new KeyholeError('name-unknown', `no running instance in ${aws.region} has the name ${nameTag}`, {
      hint: `${printable(stopped.id)} has it and is ${printable(stopped.state)}; the setting start = true starts it`,
    });
  }
  const near = nearMisses(nameTag, all.filter(isUp));
  return new KeyholeError('name-unknown', `no running instance in ${aws.region} has the name ${nameTag}`, {
    hint:
      near.length === 0
        ? 'are region and account the right ones? NAME.REGION.PROFILE.ec2 names both'
        : `did you mean ${near.map((name) => `${name}.ec2`).join(', ')}?`,
  });
}

function nearMisses(nameTag: string, instances: NamedInstance[]): string[] {
  const names = new Set(instances.map(({ name }) => name).filter(isName));
  const misses: string[] = [];
  while (misses.length < maxNearMisses) {
    const next = nearest(nameTag, names);
    if (next === undefined) break;
    misses.push(next);
    names.delete(next);
  }
  return misses;
}
