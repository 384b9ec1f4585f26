// Records what the real OpenSSH tools and the real ssh-agent say to each other: `node test/agent/capture.ts` writes
// transcript.json anew. Keys are made for the occasion; no message that carries a private key is recorded.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { join } from 'node:path';
import { FrameReader } from '../../src/agent/message.ts';
import { Place } from './openssh.ts';

export interface Exchange {
  request: string;
  answer: string;
}

export interface Transcript {
  openssh: string;
  connections: { what: string; exchanges: Exchange[] }[];
}

async function record(): Promise<Transcript> {
  const place = new Place();
  const transcript: Transcript = { openssh: version(), connections: [] };
  let what = '';
  const agent = await place.startAgent();
  const tee = createServer((client) => {
    const exchanges: Exchange[] = [];
    transcript.connections.push({ what, exchanges });
    const upstream = createConnection(agent);
    const [requests, answers] = [new FrameReader(), new FrameReader()];
    client.on('data', (chunk: Buffer) => {
      for (const message of requests.push(chunk)) exchanges.push({ request: message.toString('hex'), answer: '' });
    });
    upstream.on('data', (chunk: Buffer) => {
      for (const message of answers.push(chunk)) exchanges.at(-1)!.answer = message.toString('hex');
    });
    client.pipe(upstream).pipe(client);
  });
  const socket = place.path('tee');
  await new Promise<void>((resolve) => tee.listen(socket, resolve));
  try {
    what = 'ssh-add -l, no keys';
    await place.run('ssh-add', ['-l'], { agent: socket });
    const user = place.keygen('user', '-t', 'ed25519');
    await place.run('ssh-add', [place.path('user')], { agent });
    what = 'ssh-add -L, one key';
    await place.run('ssh-add', ['-L'], { agent: socket });
    place.authorize([user]);
    const bits = [
      ['ecdsa', '256'] as const,
      ['ecdsa', '384'] as const,
      ['ecdsa', '521'] as const,
      ['rsa', '2048'] as const,
    ];
    place.keygen('ed25519', '-t', 'ed25519');
    for (const [type, size] of bits) place.keygen(`${type}${size}`, '-t', type, '-b', size);
    for (const hostKey of ['ed25519', ...bits.map(([type, size]) => type + size)]) {
      what = `ssh, host key ${hostKey}`;
      must(await place.ssh({ agent: socket, hostKey }));
    }
    what = 'ssh, host key rsa2048, rsa-sha2-256';
    must(await place.ssh({ agent: socket, hostKey: 'rsa2048', args: ['-o', 'HostKeyAlgorithms=rsa-sha2-256'] }));
    place.keygen('ca', '-t', 'ed25519');
    for (const hostKey of ['ed25519', 'ecdsa256', 'rsa2048']) {
      execFileSync('ssh-keygen', ['-q', '-s', place.path('ca'), '-h', '-I', 'host', place.path(`${hostKey}.pub`)]);
      place.authorize([user], [`HostCertificate ${place.path(`${hostKey}-cert.pub`)}`]);
      writeFileSync(place.path('known_hosts'), `@cert-authority * ${place.publicLine('ca')}\n`);
      what = `ssh, host certificate ${hostKey}`;
      must(
        await place.ssh({ agent: socket, hostKey, args: ['-o', `UserKnownHostsFile=${place.path('known_hosts')}`] }),
      );
    }
    place.authorize([user]);
    what = 'ssh -A, then ssh-add -L at the far side';
    must(await place.ssh({ agent: socket, hostKey: 'ed25519', args: ['-A'], command: 'ssh-add -L' }));
    what = 'ssh-keygen -Y sign';
    writeFileSync(place.path('file'), 'text\n');
    must(
      await place.run('ssh-keygen', ['-Y', 'sign', '-n', 'file', '-f', place.path('user.pub'), place.path('file')], {
        agent: socket,
      }),
    );
    what = 'ssh-add -d, then -D';
    await place.run('ssh-add', ['-d', place.path('user.pub')], { agent: socket });
    await place.run('ssh-add', ['-D'], { agent: socket });
    return transcript;
  } finally {
    tee.close();
    await place.remove();
  }
}

function must({ status, stderr }: { status: number; stderr: string }): void {
  if (status !== 0) throw new Error(stderr);
}

function version(): string {
  return execFileSync('sh', ['-c', 'ssh -V 2>&1'], { encoding: 'utf8' }).trim().split(',')[0]!;
}

if (import.meta.main) {
  writeFileSync(join(import.meta.dirname, 'transcript.json'), `${JSON.stringify(await record(), null, 2)}\n`);
}
