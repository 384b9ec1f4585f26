// The form of an SSM document of type Command (Systems Manager, "Data elements and parameters", schema 2.2).

/** The parts of a Command document that are used. */
export interface CommandDocument {
  schemaVersion: '2.2';
  description: string;
  parameters: Record<string, { type: 'String'; description: string; allowedPattern: string }>;
  mainSteps: {
    action: 'aws:runShellScript';
    name: string;
    precondition: { StringEquals: [string, string] };
    inputs: { timeoutSeconds: string; runCommand: string[] };
  }[];
}

/** A document of one script for Linux. */
export function commandDocument(what: {
  description: string;
  parameters: CommandDocument['parameters'];
  name: string;
  script: string;
}): CommandDocument {
  return {
    schemaVersion: '2.2',
    description: what.description,
    parameters: what.parameters,
    mainSteps: [
      {
        action: 'aws:runShellScript',
        name: what.name,
        precondition: { StringEquals: ['platformType', 'Linux'] },
        inputs: { timeoutSeconds: '60', runCommand: what.script.trimEnd().split('\n') },
      },
    ],
  };
}
