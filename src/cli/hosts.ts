// `keyhole hosts`: the instances and nodes of a region, and with --sync their names for ssh, editors and completions.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openAws } from '../aws/own-context.ts';
import { systemClock } from '../clock.ts';
import { loadSettings } from '../config.ts';
import { UsageError } from '../errors.ts';
import { type Alias, aliasesOf, renderAliases } from '../inventory/aliases.ts';
import { type ListedHost, takeInventory } from '../inventory/inventory.ts';
import { printable } from '../printable.ts';
import { makeFolder } from '../private-folder.ts';
import { changeOf, makeChange, readIfThere } from '../setup/change.ts';
import { hasInclude } from '../setup/include-line.ts';
import { includedPath, includedPaths } from '../setup/plan.ts';
import { openLog } from './log-file.ts';
import { ownPaths } from './own-paths.ts';
import type { VerbContext } from './run.ts';
import { sshFiles } from './setup.ts';
import { table } from './table.ts';

export interface HostsArguments {
  json: boolean;
  sync: boolean;
  region: string | undefined;
  profile: string | undefined;
}

/** @throws as openAws and takeInventory; KeyholeError `setup-file`, `no-home`; UsageError */
export async function hosts({ json, sync, region, profile }: HostsArguments, context: VerbContext): Promise<void> {
  const { terminal, env, signal } = context;
  checkPart('--region', region, /^[a-z0-9-]{1,63}$/);
  // As part of a host's name, which is what it becomes.
  checkPart('--profile', profile, /^[A-Za-z0-9_][A-Za-z0-9_.@+=-]{0,127}$/);
  const { configFile, stateDir } = ownPaths(env);
  const settings = loadSettings({ env, file: configFile });
  const aws = await openAws({ profile, region, clock: systemClock, log: openLog(settings) });
  try {
    const inventory = await takeInventory(aws, signal);
    // A profile can only follow a region.
    const scope = { region: region ?? (profile === undefined ? undefined : aws.region), profile };
    const aliases = aliasesOf(inventory.hosts, scope);
    remember(stateDir, aliases);
    if (json) return terminal.print(JSON.stringify(inventory.hosts, undefined, 2));
    terminal.print(inventory.hosts.length === 0 ? `there are none in ${aws.region}` : describe(inventory.hosts));
    for (const { message } of inventory.problems) terminal.print(`note: ${message}`);
    if (sync)
      terminal.print(
        writeAliases([scope.region ?? 'as the AWS settings say', profile].filter(Boolean).join(' '), aliases),
      );
  } finally {
    aws.close();
  }
}

/** @throws UsageError `bad-usage` */
function checkPart(option: string, text: string | undefined, pattern: RegExp): void {
  if (text === undefined || pattern.test(text)) return;
  throw new UsageError('bad-usage', `${option} cannot be ${JSON.stringify(text.slice(0, 80))}`, {
    hint: 'set AWS_REGION and AWS_PROFILE for one whose name cannot be part of the name of a host',
  });
}

function describe(hosts: ListedHost[]): string {
  const rows = hosts.map(({ name, id, state, platform, agent, agentVersion, address, reachableBy }) => [
    printable(name ?? '') || '-',
    id,
    state ?? '-',
    printable(platform ?? '') || '-',
    agent === undefined ? '-' : [agent, agentVersion].filter(Boolean).join(' '),
    address ?? '-',
    reachableBy.join(', ') || '-',
  ]);
  return table([['NAME', 'ID', 'STATE', 'PLATFORM', 'AGENT', 'ADDRESS', 'BY'], ...rows]).join('\n');
}

/** For completions; a home that cannot be written to is no reason to fail. */
function remember(stateDir: string | undefined, aliases: Alias[]): void {
  if (stateDir === undefined) return;
  try {
    makeFolder(stateDir);
    writeFileSync(join(stateDir, 'hosts'), aliases.map(({ alias }) => `${alias}\n`).join(''), { mode: 0o600 });
  } catch {
    // Said above.
  }
}

function writeAliases(title: string, aliases: Alias[]): string {
  const files = sshFiles();
  const change = changeOf(files.hosts, (before) =>
    Buffer.from(renderAliases(before?.toString('utf8') ?? '', title, aliases)),
  );
  if (change !== undefined) makeChange(change, 'run keyhole hosts --sync again');
  const config = readIfThere(files.config);
  const isIncluded = config !== undefined && hasInclude(config, includedPaths(files));
  const hint = isIncluded ? '' : `\nnote: ssh reads it by ${includedPath}, which keyhole setup makes`;
  return `${aliases.length} names are in ${files.hosts}${hint}`;
}
