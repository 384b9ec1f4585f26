// What 2,000 connections leave in a daemon: memory, descriptors, timers. The daemon is asked for its own view by Node's
// inspector, which a signal opens on loopback; nothing in keyhole knows of it.
import { setTimeout as delay } from 'node:timers/promises';
import type { Measure } from '../measure.ts';
import { openDescriptors, residentMegabytes } from '../processes.ts';
import { openToBanner } from '../proxy-command.ts';
import { makeWarmSubject } from '../subject.ts';

const connections = 2_000;
/**
 * The first ones fill caches and pools that stay; malloc's heap takes a step of 4 MB or two among the first few hundred, when a
 * collection comes late, and stands still from then on (by smaps).
 */
const warmUpConnections = 800;
const atOnce = 4;
const settleMs = 5_000;
const inspectorPort = 9229;

export const leaks: Measure = {
  name: 'leaks',
  about: 'what 2,000 opens and closes leave in the daemon',
  optional: true,
  async run({ subjectOptions, stand, network, say }) {
    const subject = makeWarmSubject(subjectOptions);
    const open = async (count: number) => {
      let left = count;
      const worker = async () => {
        while (left-- > 0) await (await openToBanner(subject, stand, network)).close();
      };
      await Promise.all(Array.from({ length: atOnce }, worker));
      await delay(settleMs);
    };
    try {
      await open(warmUpConnections);
      const daemon = subject.sharedProcesses()[0]!;
      process.kill(daemon, 'SIGUSR1');
      await delay(500);
      const before = await look(daemon);
      await open(connections);
      const after = await look(daemon);
      const grown = (name: string, title: string, unit: string, key: keyof Awaited<ReturnType<typeof look>>) => ({
        name: `leaks.${name}`,
        title: `${title}, grown by ${connections} connections`,
        unit,
        better: 'lower' as const,
        series: { warm: [after[key] - before[key]] },
      });
      return [
        grown('resident', 'daemon memory', 'MB', 'resident'),
        grown('heap', 'live heap', 'MB', 'heap'),
        grown('descriptors', 'open descriptors', '', 'descriptors'),
        grown('timers', 'timers', '', 'timers'),
        grown('resources', 'all active resources', '', 'resources'),
      ];
    } catch (error) {
      say(`failed: ${(error as Error).message}`);
      return [];
    } finally {
      await subject.clean();
    }
  },
};

async function look(pid: number) {
  const inspector = await Inspector.connect(pid);
  // Twice: what the first finds dead may have held what only the second frees.
  await inspector.collectGarbage();
  await inspector.collectGarbage();
  const active = (await inspector.evaluate('process.getActiveResourcesInfo()')) as string[];
  const heap = ((await inspector.evaluate('process.memoryUsage().heapUsed')) as number) / 1e6;
  inspector.close();
  await delay(3_000); // V8 gives pages back some time later; and for the inspector's own sockets
  return {
    resident: residentMegabytes(pid),
    heap,
    descriptors: openDescriptors(pid),
    timers: active.filter((name) => name === 'Timeout' || name === 'Immediate').length,
    resources: active.length,
  };
}

class Inspector {
  readonly #socket: WebSocket;
  #lastId = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  static async connect(pid: number): Promise<Inspector> {
    const [target] = (await (await fetch(`http://127.0.0.1:${inspectorPort}/json`)).json()) as {
      webSocketDebuggerUrl: string;
    }[];
    const socket = new WebSocket(target!.webSocketDebuggerUrl);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = () => reject(new Error('the inspector does not answer'));
    });
    const inspector = new Inspector(socket);
    // Another process may have had the port.
    if ((await inspector.evaluate('process.pid')) !== pid)
      throw new Error(`port ${inspectorPort} is another process's`);
    return inspector;
  }

  async evaluate(expression: string): Promise<unknown> {
    const { result } = await this.#call('Runtime.evaluate', { expression, returnByValue: true });
    return (result as { value: unknown }).value;
  }

  async collectGarbage(): Promise<void> {
    await this.#call('HeapProfiler.collectGarbage', {});
    await this.#call('HeapProfiler.collectGarbage', {});
  }

  close(): void {
    this.#socket.close();
  }

  #call(method: string, params: object): Promise<Record<string, unknown>> {
    const id = ++this.#lastId;
    return new Promise((resolve) => {
      const onMessage = ({ data }: { data: unknown }) => {
        const answer = JSON.parse(String(data));
        if (answer.id !== id) return;
        this.#socket.removeEventListener('message', onMessage);
        resolve(answer.result);
      };
      this.#socket.addEventListener('message', onMessage);
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }
}
