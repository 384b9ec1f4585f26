// `keyhole resolve-aws`: prints the AWS settings of its surroundings as JSON, credentials included, in the form of
// `credential_process`. Before that, a line of its own, when a person has to be asked. The daemon and its helpers run it as a child (own-process.ts); nobody else needs it.

import { serializeResolution } from '../aws/resolution.ts';
import { resolveAws } from '../aws/resolve.ts';
import { KeyholeError, reportOf, UsageError } from '../errors.ts';
import { asksPerson } from '../own-process.ts';
import { mfaCodeAtTerminal } from './mfa-code.ts';
import type { VerbContext } from './run.ts';

/** `[--profile NAME] [--region NAME]`, each given by a program. @throws UsageError */
export async function printAwsSettings(args: string[], { terminal }: VerbContext): Promise<void> {
  try {
    const mfaCode = mfaCodeAtTerminal(() => terminal.print(asksPerson));
    const { resolution } = await resolveAws(parse(args), mfaCode);
    terminal.print(JSON.stringify(serializeResolution(resolution)));
  } catch (error) {
    if (!(error instanceof KeyholeError)) throw error;
    terminal.print(JSON.stringify({ error: reportOf(error) }));
    throw error;
  }
}

function parse(args: string[]): { profile?: string; region?: string } {
  const wanted: Record<string, string> = {};
  for (const arg of args) {
    const [, name, value] = /^--(profile|region)=(.+)$/s.exec(arg) ?? [];
    if (name === undefined) throw new UsageError('bad-usage', `${JSON.stringify(arg)} is not an option of resolve-aws`);
    wanted[name] = value!;
  }
  return wanted;
}
