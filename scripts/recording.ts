// The process behind scripts/recording, inside the simulated region: runs each command as a user would type it, and draws
// what came, line by line at its own time (SVG with CSS, no script). ssh's configuration is given by -F, which is not shown.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

const top = resolve(import.meta.dirname, '..');
const output = join(top, 'man/recording.svg');
const { REGION_INSTANCE_ID: host = '', REGION_USER: user = '', REGION_KNOWN_HOSTS_FILE: knownHosts = '' } = process.env;

interface Line {
  text: string;
  /** Milliseconds from the start of the recording. */
  at: number;
  isCommand: boolean;
}

/** Between the end of a command and the next: somebody has to read. */
const pauseMs = 1_200;
const [columns, lineHeight, characterWidth, margin] = [98, 20, 8.4, 16];

async function main(): Promise<void> {
  const folder = mkdtempSync('/tmp/kh-rec-'); // short: sockets are in it
  const env = useFolder(folder);
  const lines: Line[] = [];
  let now = 0;
  try {
    for (const command of [
      `ssh ${host} 'uname -sm; uptime -p'`,
      'sha256sum <movie.bin',
      `ssh ${host} sha256sum <movie.bin`,
      `ssh -fN ${host}`,
      'keyhole status',
    ]) {
      lines.push({ text: `$ ${command}`, at: now, isCommand: true });
      const { printed, ms } = await run(command, { cwd: folder, env });
      for (const { text, at } of printed) lines.push({ text, at: now + at, isCommand: false });
      now += ms + pauseMs;
    }
  } finally {
    await run('keyhole daemon stop', { cwd: folder, env });
    rmSync(folder, { recursive: true });
  }
  writeFileSync(output, draw(lines));
  process.stderr.write(`recording: ${lines.length} lines written to ${output}\n`);
}

function useFolder(folder: string): NodeJS.ProcessEnv {
  const path = (name: string) => join(folder, name);
  mkdirSync(path('k'), { mode: 0o700 });
  mkdirSync(path('bin'));
  for (const program of ['ssh', 'scp']) {
    writeFileSync(path(`bin/${program}`), `#!/bin/sh\nexec /usr/bin/${program} -F '${path('config')}' "$@"\n`);
    chmodSync(path(`bin/${program}`), 0o755);
  }
  writeFileSync(path('bin/keyhole'), `#!/bin/sh\nexec '${join(top, 'dist/keyhole')}' "$@"\n`, { mode: 0o755 });
  writeFileSync(path('movie.bin'), randomBytes(20_000_000));
  writeFileSync(
    path('config'),
    `Host i-*
  ProxyCommand "${join(top, 'dist/keyhole')}" proxy -- %h %p %r
  ProxyUseFdpass yes
  IdentityAgent "${path('k')}/agent/%r@%h:%p"
  IdentityFile none
  User ${user}
  UserKnownHostsFile "${knownHosts}"
  StrictHostKeyChecking yes
`,
  );
  return {
    ...process.env,
    PATH: `${path('bin')}:${process.env.PATH}`,
    KEYHOLE_RUNTIME_DIR: path('k'),
    XDG_STATE_HOME: path('state'),
    XDG_CONFIG_HOME: path('config.d'),
    XDG_CACHE_HOME: path('cache'),
  };
}

async function run(command: string, options: { cwd: string; env: NodeJS.ProcessEnv }) {
  const start = performance.now();
  const printed: { text: string; at: number }[] = [];
  const child = spawn('sh', ['-c', `exec 2>&1; ${command}`], { ...options, stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = new Promise<number | null>((done) => child.once('close', done));
  for await (const text of createInterface({ input: child.stdout }))
    printed.push({ text, at: performance.now() - start });
  const status = await closed;
  if (status !== 0) throw new Error(`${command}: exit status ${status}\n${printed.map(({ text }) => text).join('\n')}`);
  return { printed, ms: performance.now() - start };
}

function draw(lines: Line[]): string {
  const width = Math.ceil(columns * characterWidth + 2 * margin);
  const height = lines.length * lineHeight + 2 * margin;
  const texts = lines.map(({ text, at, isCommand }, index) => {
    const y = margin + (index + 0.75) * lineHeight;
    const shown = text.length > columns ? `${text.slice(0, columns - 1)}…` : text;
    const style = `animation-delay:${(at / 1000).toFixed(2)}s`;
    return `<text x="${margin}" y="${y}" class="${isCommand ? 'typed' : 'said'}" style="${style}" xml:space="preserve">${xml(shown)}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14">
<title>ssh and scp through keyhole, recorded against the simulated region</title>
<style>text { fill: #e6edf3; opacity: 0; animation: appear 0.01s forwards } .typed { fill: #7ee787 } @keyframes appear { to { opacity: 1 } } @media (prefers-reduced-motion: reduce) { text { opacity: 1; animation: none } }</style>
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
${texts.join('\n')}
</svg>
`;
}

function xml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

await main();
