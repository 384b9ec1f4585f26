// Documents of type Command: AWS's own shell, and what an administrator made from JSON. Refuses at once what CreateDocument
// would, and later every parameter that a document's patterns don't take. Schemas 1.2 and 2.2 (Systems Manager, "Data
// elements and parameters"); how values get into a script: the agent's docparser (3.3.1142.0).
import { ServiceError } from '../errors.ts';

interface Parameter {
  type: 'String' | 'StringList';
  default?: string | string[];
  allowedPattern?: string;
}

interface Step {
  action: 'aws:runShellScript';
  name: string;
  precondition?: { StringEquals: [string, string] };
  inputs: { runCommand: string[] | string; timeoutSeconds?: string };
}

export interface CommandDocument {
  name: string;
  ownedByAws?: boolean;
  parameters: Record<string, Parameter>;
  step: Step;
}

/** What an agent is given to run. */
export interface Script {
  lines: string[];
  timeoutMs: number;
  /** The only one that it runs on; undefined: any. */
  platformType: string | undefined;
}

const shell: CommandDocument = {
  name: 'AWS-RunShellScript',
  ownedByAws: true,
  parameters: {
    commands: { type: 'StringList' },
    workingDirectory: { type: 'String', default: '' },
    executionTimeout: {
      type: 'String',
      default: '3600',
      allowedPattern: '([1-9][0-9]{0,4})|(1[0-6][0-9]{4})|(17[0-1][0-9]{3})|(172[0-7][0-9]{2})|(172800)',
    },
  },
  step: {
    action: 'aws:runShellScript',
    name: 'shell',
    inputs: { runCommand: '{{ commands }}', timeoutSeconds: '{{ executionTimeout }}' },
  },
};

const topLevel = ['schemaVersion', 'description', 'parameters', 'mainSteps'];
const maxDocumentBytes = 64 * 1024;

export class CommandDocuments {
  readonly #documents = new Map<string, CommandDocument>([[shell.name, shell]]);

  /** @param own by name, the JSON text that CreateDocument was given */
  constructor(own: Record<string, string>) {
    for (const [name, text] of Object.entries(own)) this.#documents.set(name, readDocument(name, text));
  }

  /** By name or ARN. Throws InvalidDocument. */
  find(nameOrArn: string): CommandDocument {
    const name = nameOrArn.replace(/^arn:[^:]*:ssm:[^:]*:[^:]*:document\//, '');
    const document = this.#documents.get(name);
    if (document !== undefined) return document;
    throw new ServiceError('InvalidDocument', `Document with name ${name} does not exist.`);
  }
}

/** The script with the parameters in place. Throws InvalidParameters. */
export function renderScript({ parameters, step }: CommandDocument, given: Record<string, string[]>): Script {
  const stranger = Object.keys(given).find((name) => !Object.hasOwn(parameters, name));
  if (stranger !== undefined) throw invalid(`The following parameters are not defined in the document: ${stranger}.`);
  const values = Object.fromEntries(
    Object.entries(parameters).map(([name, parameter]) => [name, readValue(name, parameter, given[name])]),
  );
  const { runCommand, timeoutSeconds = '3600' } = step.inputs;
  const list = typeof runCommand === 'string' ? values[/^\{\{ (\w+) \}\}$/.exec(runCommand)![1]!] : runCommand;
  return {
    lines: [list ?? []].flat().map((line) => (typeof runCommand === 'string' ? line : replace(line, values))),
    timeoutMs: Number(replace(timeoutSeconds, values)) * 1000,
    platformType: step.precondition?.StringEquals[1],
  };
}

function readValue(name: string, parameter: Parameter, given = parameter.default): string | string[] {
  if (given === undefined) throw invalid(`Parameter ${name} is required.`);
  const values = [given].flat();
  if (parameter.type === 'String' && values.length !== 1) throw invalid(`Parameter ${name} takes one value.`);
  const pattern = new RegExp(parameter.allowedPattern ?? '');
  const wrong = values.find((value) => !pattern.test(value));
  if (wrong !== undefined) throw invalid(`Parameter "${name}" has value "${wrong}" not matching "${pattern.source}".`);
  return parameter.type === 'String' ? values[0]! : values;
}

/** All at once, so that a value is never looked into again; `$$` in a value becomes `$`. */
function replace(line: string, values: Record<string, string | string[]>): string {
  return line.replace(/\{\{\s*(\w+)\s*\}\}/g, (whole, name: string) => {
    const value = values[name];
    return value === undefined ? whole : String(value).replaceAll('$$', '$');
  });
}

/** Throws for what CreateDocument would not take. */
function readDocument(name: string, text: string): CommandDocument {
  const complain = (what: string) => new Error(`the document ${name} ${what}`);
  if (!/^[a-zA-Z0-9_\-.]{3,128}$/.test(name) || /^(aws|amazon|amzn)/i.test(name)) throw complain('has no such name');
  if (Buffer.byteLength(text) > maxDocumentBytes) throw complain('is larger than 64 KB');
  const content = JSON.parse(text) as {
    schemaVersion: string;
    parameters: Record<string, Parameter>;
    mainSteps: Step[];
  };
  const unknown = Object.keys(content).find((key) => !topLevel.includes(key));
  if (unknown !== undefined || content.schemaVersion !== '2.2') throw complain(`is not of schema 2.2 (${unknown})`);
  const { parameters = {}, mainSteps } = content;
  for (const [parameter, { type, allowedPattern }] of Object.entries(parameters)) {
    if (!/^[a-zA-Z0-9]+$/.test(parameter) || type !== 'String') throw complain(`has the parameter ${parameter}`);
    new RegExp(allowedPattern ?? '');
  }
  const [step] = mainSteps;
  if (mainSteps.length !== 1 || step?.action !== 'aws:runShellScript' || !/^[a-zA-Z0-9_]{3,}$/.test(step.name)) {
    throw complain('has other steps than one shell script');
  }
  const named = [...JSON.stringify(mainSteps).matchAll(/\{\{\s*([^}]*?)\s*\}\}/g)].map(([, reference]) => reference!);
  const lost = named.find((reference) => !Object.hasOwn(parameters, reference));
  if (lost !== undefined) throw complain(`refers to a parameter ${lost} that it has not`);
  return { name, parameters, step };
}

function invalid(message: string): ServiceError {
  return new ServiceError('InvalidParameters', message);
}
