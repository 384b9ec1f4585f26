// The rooms of src and who may enter them (design.md section 2). Imports point downwards only; `ssm` and `eice`
// never meet but in `tunnel`; leaves know nobody but leaves. A new folder needs a row here and in ARCHITECTURE.md.
import { readFileSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { build } from 'esbuild';
import t from 'tap';
import { sourceFiles, top } from './tree.ts';

interface Room {
  /** Rooms below that it may use, besides itself and the leaves. */
  uses: string[];
  /** Packages that only the rooms that name them may load; `@aws-sdk/` stands for the whole scope. */
  packages?: string[];
}

const core = ['tunnel', 'ssm', 'eice', 'websocket', 'aws'];
const rooms: Record<string, Room> = {
  'main.ts': { uses: ['cli'] },
  cli: {
    uses: [
      'setup',
      'policy',
      'inventory',
      'doctor',
      'helper',
      'daemon',
      'control',
      'agent',
      'target',
      'keypush',
      'hostkeys',
      ...core,
    ],
    packages: ['yargs'],
  },
  setup: { uses: ['target'] },
  policy: { uses: [] },
  inventory: { uses: ['aws'] },
  doctor: { uses: ['helper', 'hostkeys', 'target', ...core] },
  helper: { uses: ['control'] },
  daemon: { uses: ['control', 'agent', 'target', 'keypush', 'hostkeys', ...core] },
  control: { uses: [] },
  agent: { uses: [] },
  target: { uses: ['aws'] },
  keypush: { uses: ['aws'] },
  hostkeys: { uses: ['aws'] },
  tunnel: { uses: ['ssm', 'eice', 'websocket', 'aws'] },
  ssm: { uses: ['websocket', 'aws'] },
  eice: { uses: ['websocket', 'aws'], packages: ['@smithy/signature-v4'] },
  websocket: { uses: [] },
  aws: { uses: [], packages: ['@aws-sdk/', '@smithy/', 'agent-base', 'https-proxy-agent'] },
};
const leaves: Record<string, Room> = {
  wire: { uses: [] },
  'clock.ts': { uses: [] },
  'config.ts': { uses: [] },
  'config-file.ts': { uses: [], packages: ['smol-toml'] },
  'early-input.ts': { uses: [] },
  'errors.ts': { uses: [] },
  'failure-record.ts': { uses: [] },
  'host-patterns.ts': { uses: [] },
  'log.ts': { uses: [] },
  'nearest.ts': { uses: [] },
  'network-watch.ts': { uses: [] },
  'own-process.ts': { uses: [] },
  'part.ts': { uses: [] },
  'paths.ts': { uses: [] },
  'printable.ts': { uses: [] },
  'private-folder.ts': { uses: [] },
  'process-end.ts': { uses: [] },
  'process-life.ts': { uses: [] },
  'settings.ts': { uses: [] },
  'toml-places.ts': { uses: [] },
  'version.ts': { uses: [] },
  'within.ts': { uses: [] },
};
/** Interfaces that a room above writes and rooms below fulfil; they import nothing themselves. */
const contracts = ['tunnel/transport.ts'];

/** Protocol code: no I/O, no clock (design.md section 3). */
const pure = [
  'channel',
  'handshake',
  'incoming',
  'message',
  'mux/frame',
  'mux/mux',
  'mux/queue',
  'outgoing',
  'pace',
  'round-trip',
];

interface Edge {
  /** Path below src. */
  from: string;
  /** Path below src, `../…` for what is outside, or the name of a package. */
  to: string;
  kind: 'own' | 'package' | 'node';
}

/** Every import of every file, as esbuild's parser sees it, with type imports made visible to it. */
async function findEdges(files: string[]): Promise<Edge[]> {
  const edges: Edge[] = [];
  await build({
    entryPoints: files,
    absWorkingDir: top,
    outdir: 'unused',
    bundle: true,
    write: false,
    logLevel: 'silent',
    tsconfigRaw: { compilerOptions: { verbatimModuleSyntax: true } },
    plugins: [
      {
        name: 'edges',
        setup({ onLoad, onResolve }) {
          onLoad({ filter: /\.ts$/ }, ({ path }) => ({
            contents: readFileSync(path, 'utf8').replace(/^(import type\b|export type(?= *[{*]))/gm, (words) =>
              words.replace(' type', ''),
            ),
            loader: 'ts',
          }));
          onResolve({ filter: /./ }, ({ path, importer, resolveDir, kind }) => {
            if (kind === 'entry-point') return undefined;
            const from = relative(resolve(top, 'src'), importer);
            if (path.startsWith('.') || path.startsWith('/')) {
              edges.push({ from, to: relative(resolve(top, 'src'), resolve(resolveDir, path)), kind: 'own' });
            } else {
              edges.push({ from, to: path, kind: path.startsWith('node:') ? 'node' : 'package' });
            }
            return { path, external: true };
          });
        },
      },
    ],
  });
  return edges;
}

const roomOf = (path: string): string => path.split('/')[0]!;
const allRooms: Record<string, Room> = { ...rooms, ...leaves };

/** Why the edge must not be; undefined if it may. */
function objection({ from, to, kind }: Edge): string | undefined {
  const room = roomOf(from);
  if (kind === 'node') return undefined;
  if (kind === 'package') {
    const fits = (allowed: string) => to === allowed || to.startsWith(allowed.endsWith('/') ? allowed : `${allowed}/`);
    return allRooms[room]?.packages?.some(fits) ? undefined : `${room} may not load this package`;
  }
  if (from === 'version.ts' && to === '../package.json') return undefined;
  if (to.startsWith('..')) return 'src imports nothing outside src';
  if (contracts.includes(from)) return 'a contract imports nothing of ours';
  const target = roomOf(to);
  if (target === room || target in leaves || contracts.includes(to)) return undefined;
  return allRooms[room]?.uses.includes(target) ? undefined : `${room} may not use ${target}`;
}

const files = sourceFiles('src');
const edges = await findEdges(files);

t.test('every file of src is in a room of the table', async (t) => {
  const strangers = files.filter((file) => !(roomOf(relative('src', file)) in allRooms));
  t.strictSame(strangers, []);
});

t.test('the table itself points downwards', async (t) => {
  const order = Object.keys(rooms);
  for (const [room, { uses }] of Object.entries(rooms)) {
    const upwards = uses.filter((used) => order.indexOf(used) <= order.indexOf(room));
    t.strictSame(upwards, [], room);
  }
  t.notOk(rooms.ssm!.uses.includes('eice') || rooms.eice!.uses.includes('ssm'), 'ssm and eice do not meet');
});

t.test('imports follow the table', async (t) => {
  t.ok(edges.some(({ kind }) => kind === 'own') && edges.some(({ kind }) => kind === 'package'), 'imports were found');
  const wrong = edges.flatMap((edge) => {
    const why = objection(edge);
    return why === undefined ? [] : [`${edge.from} imports ${edge.to}: ${why}`];
  });
  t.strictSame(wrong, []);
});

t.test('what the table forbids would be noticed', async (t) => {
  const own = (from: string, to: string) => objection({ from, to, kind: 'own' });
  t.match(own('ssm/session.ts', 'eice/transport.ts'), 'ssm may not use eice');
  t.match(own('aws/retry.ts', 'ssm/channel.ts'), 'aws may not use ssm');
  t.match(own('errors.ts', 'aws/retry.ts'), 'errors.ts may not use aws');
  t.match(own('cli/proxy.ts', '../test/region/state.ts'), 'outside src');
  t.match(objection({ from: 'helper/hello.ts', to: '@aws-sdk/client-ssm', kind: 'package' }), 'may not load');
  t.equal(own('ssm/transport.ts', 'tunnel/transport.ts'), undefined);
});

t.test('protocol code does no I/O and reads no clock', async (t) => {
  for (const name of pure) {
    const path = `ssm/${name}.ts`;
    const imports = edges.filter(({ from }) => from === path);
    const loaded = imports.filter(({ kind }) => kind !== 'own').map(({ to }) => to);
    t.strictSame(
      loaded.filter((to) => to !== 'node:crypto' && to !== 'node:buffer'),
      [],
      path,
    );
    const impure = imports.filter(({ to }) => to === 'clock.ts' || to === 'log.ts' || to === 'paths.ts');
    t.strictSame(impure, [], path);
    const source = readFileSync(resolve(top, 'src', path), 'utf8').replace(/\/\/.*|\/\*[\s\S]*?\*\//g, '');
    t.notMatch(source, /\b(Date\.now|new Date\(\)|performance\.|setTimeout|setInterval|process\.)/, path);
  }
});
