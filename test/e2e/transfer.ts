// Files through ssh by every tool that people use, both ways. "The instance" is this machine, so both ends are files
// of the bench's folder, and equal bytes are checked by SHA-256.
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, writeFileSync } from 'node:fs';
import { type Bench, instanceId, type Result } from './fixture.ts';

export const tools = ['scp', 'sftp', 'cat', 'rsync'] as const;
export type Tool = (typeof tools)[number];
export type Direction = 'up' | 'down';

/** A file of random bytes. @returns its path */
export function makeFile(bench: Bench, name: string, bytes: number): string {
  const path = bench.path(name);
  writeFileSync(path, '');
  for (let left = bytes; left > 0; left -= 1e6) writeFileSync(path, randomBytes(Math.min(left, 1e6)), { flag: 'a' });
  return path;
}

export async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest('hex');
}

/** Copies `from` to `to`, one of which is on the instance. */
export async function copy(
  bench: Bench,
  {
    tool,
    direction,
    from,
    to,
    timeoutMs,
  }: { tool: Tool; direction: Direction; from: string; to: string; timeoutMs: number },
): Promise<Result> {
  const remote = (path: string) => `${instanceId}:${path}`;
  const [source, target] = direction === 'up' ? [from, remote(to)] : [remote(from), to];
  switch (tool) {
    case 'scp':
      return bench.run('scp', ['-F', bench.config, source, target], { timeoutMs });
    case 'sftp': {
      const command = `${direction === 'up' ? 'put' : 'get'} "${from}" "${to}"\n`;
      return bench.run('sftp', ['-F', bench.config, '-b', '-', instanceId], { input: command, timeoutMs });
    }
    case 'rsync':
      return bench.run('rsync', ['--whole-file', '-e', `ssh -F ${bench.config}`, source, target], { timeoutMs });
    case 'cat': {
      if (direction === 'up') return feed(bench, from, `cat > "${to}"`, timeoutMs);
      const result = await bench.ssh([instanceId, `cat "${from}"`], { timeoutMs });
      writeFileSync(to, result.stdout);
      return result;
    }
  }
}

async function feed(bench: Bench, from: string, command: string, timeoutMs: number): Promise<Result> {
  const ssh = bench.start('ssh', ['-F', bench.config, instanceId, command], { input: 'open', timeoutMs });
  createReadStream(from).pipe(ssh.child.stdin);
  return ssh.exit;
}
