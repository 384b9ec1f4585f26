// DescribeSessions: filters, order (newest first) and pages of SSM's service model.
import type { Session } from '../sessions.ts';
import type { RegionState } from '../state.ts';
import { page } from './pages.ts';
import type { Call, Operation } from './service.ts';

interface Filter {
  key: 'InvokedAfter' | 'InvokedBefore' | 'Target' | 'Owner' | 'Status' | 'SessionId' | 'AccessType';
  value: string;
}

export function describeSessions(state: RegionState): Operation {
  return {
    input: {
      type: 'structure',
      required: ['State'],
      members: {
        State: { type: 'string', values: ['Active', 'History'] },
        MaxResults: { type: 'integer', min: 1, max: 200 },
        NextToken: { type: 'string' },
        Filters: {
          type: 'list',
          min: 1,
          max: 6,
          member: {
            type: 'structure',
            required: ['key', 'value'],
            members: {
              key: {
                type: 'string',
                values: ['InvokedAfter', 'InvokedBefore', 'Target', 'Owner', 'Status', 'SessionId', 'AccessType'],
              },
              value: { type: 'string', min: 1, max: 400 },
            },
          },
        },
      },
    },
    run({ principal, input, authorize }: Call) {
      authorize('ssm:DescribeSessions', state.arn.any(principal.account));
      const filters = (input.Filters ?? []) as Filter[];
      const found = state.sessions.all
        .filter((session) => session.owner.account === principal.account)
        .filter((session) => session.active === (input.State === 'Active'))
        .filter((session) => filters.every((filter) => passes(session, filter)))
        .reverse();
      const size = (input.MaxResults as number | undefined) ?? 50;
      const { items, nextToken } = page(found, size, input.NextToken, [input.State, filters]);
      return { Sessions: items.map((session) => describe(session, state)), NextToken: nextToken };
    },
  };
}

function passes(session: Session, { key, value }: Filter): boolean {
  switch (key) {
    case 'InvokedAfter':
      return session.startDate > Date.parse(value);
    case 'InvokedBefore':
      return session.startDate < Date.parse(value);
    case 'Target':
      return session.target === value;
    case 'Owner':
      return session.owner.arn === value;
    case 'Status':
      return session.status === value;
    case 'SessionId':
      return session.sessionId === value;
    case 'AccessType':
      return value === 'Standard';
  }
}

function describe(session: Session, state: RegionState): object {
  return {
    SessionId: session.sessionId,
    Target: session.target,
    Status: session.status,
    StartDate: session.startDate / 1000,
    EndDate: session.endDate === undefined ? undefined : session.endDate / 1000,
    DocumentName: session.document.name,
    Owner: session.owner.arn,
    Reason: session.reason,
    OutputUrl: {},
    AccessType: 'Standard',
    MaxSessionDuration: maxMinutes(state),
  };
}

function maxMinutes(state: RegionState): string | undefined {
  const { maxDurationMs } = state.sessions.settings;
  return maxDurationMs === undefined ? undefined : String(Math.max(1, Math.round(maxDurationMs / 60_000)));
}
