// The resource names of one region.

export class Arns {
  readonly partition: string;
  readonly #region: string;

  constructor(region: string) {
    this.#region = region;
    this.partition = region.startsWith('cn-') ? 'aws-cn' : region.startsWith('us-gov-') ? 'aws-us-gov' : 'aws';
  }

  node(instanceId: string, account: string): string {
    return instanceId.startsWith('mi-')
      ? this.#make('ssm', account, `managed-instance/${instanceId}`)
      : this.#make('ec2', account, `instance/${instanceId}`);
  }

  endpoint(endpointId: string, account: string): string {
    return this.#make('ec2', account, `instance-connect-endpoint/${endpointId}`);
  }

  document(document: { name: string; ownedByAws?: boolean }, account: string): string {
    return this.#make('ssm', document.ownedByAws === true ? '' : account, `document/${document.name}`);
  }

  session(sessionId: string, account: string): string {
    return this.#make('ssm', account, `session/${sessionId}`);
  }

  /** What Describe calls are authorised on: SSM's resources at large. */
  any(account: string): string {
    return this.#make('ssm', account, '*');
  }

  #make(service: string, account: string, resource: string): string {
    return `arn:${this.partition}:${service}:${this.#region}:${account}:${resource}`;
  }
}
