// Session documents: AWS's own that matter for tunnels (protocol.md 1.2; defaults and patterns as in public copies)
// and whatever a test adds. A document turns the parameters of StartSession into the properties that the agent's
// handshake carries.
import { ServiceError } from './errors.ts';

export interface DocumentDefinition {
  sessionType: 'Port' | 'Standard_Stream';
  /** True for documents that AWS owns: their ARN names no account. */
  ownedByAws?: boolean;
  parameters: Record<string, { default?: string; pattern?: RegExp }>;
  /** Values that every session of the document has, e.g. `type`. */
  properties: Record<string, string>;
}

const port = /^([1-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$/;
const localPort = /^([0-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$/;
const host = /^[^,$^&()!;'"<>`{}[\]|#=]{3,}$/;

const awsDocuments: Record<string, DocumentDefinition> = {
  'SSM-SessionManagerRunShell': { sessionType: 'Standard_Stream', parameters: {}, properties: {} },
  'AWS-StartSSHSession': {
    sessionType: 'Port',
    ownedByAws: true,
    parameters: { portNumber: { default: '22', pattern: port } },
    properties: {},
  },
  'AWS-StartPortForwardingSession': {
    sessionType: 'Port',
    ownedByAws: true,
    parameters: {
      portNumber: { default: '80', pattern: port },
      localPortNumber: { default: '0', pattern: localPort },
    },
    properties: { type: 'LocalPortForwarding' },
  },
  'AWS-StartPortForwardingSessionToRemoteHost': {
    sessionType: 'Port',
    ownedByAws: true,
    parameters: {
      host: { pattern: host },
      portNumber: { default: '80', pattern: port },
      localPortNumber: { default: '0', pattern: localPort },
    },
    properties: { type: 'LocalPortForwarding' },
  },
};

const defaultName = 'SSM-SessionManagerRunShell';

export interface SessionDocument extends DocumentDefinition {
  name: string;
}

export class Documents {
  readonly #documents: Record<string, DocumentDefinition>;

  constructor(own: Record<string, DocumentDefinition>) {
    this.#documents = { ...awsDocuments, ...own };
  }

  /** By name or ARN; without either the account's shell. Throws InvalidDocument. */
  find(nameOrArn = defaultName): SessionDocument {
    const name = nameOrArn.replace(/^arn:[^:]*:ssm:[^:]*:[^:]*:document\//, '');
    const document = Object.hasOwn(this.#documents, name) ? this.#documents[name] : undefined;
    if (document === undefined) {
      throw new ServiceError('InvalidDocument', `Document with name ${name} does not exist.`);
    }
    return { ...document, name };
  }
}

/** The properties of a session. Throws InvalidParameters for what the document does not know or its patterns refuse. */
export function resolveProperties(
  document: SessionDocument,
  given: Record<string, string[]> = {},
): Record<string, string> {
  const unknown = Object.keys(given).filter((name) => !Object.hasOwn(document.parameters, name));
  if (unknown.length > 0) {
    throw invalid(`The following parameters are not defined in the document: ${unknown.join(', ')}.`);
  }
  const properties = { ...document.properties };
  for (const [name, { default: fallback, pattern }] of Object.entries(document.parameters)) {
    const values = given[name] ?? (fallback === undefined ? [] : [fallback]);
    if (values.length === 0) throw invalid(`Parameter ${name} is required.`);
    if (values.length > 1) throw invalid(`Parameter ${name} is a String and takes one value.`);
    const value = values[0]!;
    if (pattern !== undefined && !pattern.test(value)) {
      throw invalid(`Parameter "${name}" has value "${value}" not matching "${pattern.source}".`);
    }
    properties[name] = value;
  }
  return properties;
}

function invalid(message: string): ServiceError {
  return new ServiceError('InvalidParameters', message);
}
