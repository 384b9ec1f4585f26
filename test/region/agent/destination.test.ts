import t from 'tap';
import { findDestination } from './destination.ts';

const sshd = { host: '127.0.0.1', port: 2222 };
const database = { host: '127.0.0.1', port: 5433 };
const surroundings = { ports: { 22: sshd }, hosts: { 'db.internal': { 5432: database }, '10.0.1.9': { 80: sshd } } };
const find = (portNumber: string, host?: string) =>
  findDestination({ portNumber, ...(host !== undefined && { host }) }, surroundings);

t.test('a session leads to a port of the node, or of a machine that it knows', async (t) => {
  t.same(find('22'), { address: sshd });
  t.same(find('22', 'localhost'), { address: sshd });
  t.same(find('5432', 'DB.internal'), { address: database });
  t.same(find('80', '10.0.1.9'), { address: sshd });
});

t.test('where nothing answers there is no address; a name that nobody knows ends the session', async (t) => {
  t.same(find('80'), { address: undefined });
  t.same(find('80', 'db.internal'), { address: undefined });
  t.same(find('80', '10.9.9.9'), { address: undefined });
  t.match(find('80', 'nowhere.internal'), { refusal: /no such host/ });
});

t.test('addresses of AWS are forbidden', async (t) => {
  for (const host of ['169.254.169.254', '169.254.169.253', 'fd00:ec2::254', 'FD00:EC2::253']) {
    t.match(find('80', host), { refusal: `Forwarding to IP address ${host} is forbidden.` });
  }
});
