import t from 'tap';
import { isOnLoopback, parseForwarding, showLocal } from '../../src/target/forwarding.ts';

/** `LOCAL > RHOST RPORT`. */
function read(text: string): string {
  const { local, remoteHost, remotePort } = parseForwarding(text);
  return `${showLocal(local)} > ${remoteHost ?? '-'} ${remotePort}`;
}

t.test('what leads where', async (t) => {
  for (const [text, meaning] of [
    ['5432', '127.0.0.1:5432 > - 5432'],
    ['0:5432', '127.0.0.1:0 > - 5432'],
    ['15432:5432', '127.0.0.1:15432 > - 5432'],
    ['db.internal:5432', '127.0.0.1:5432 > db.internal 5432'],
    ['15432:db.internal:5432', '127.0.0.1:15432 > db.internal 5432'],
    ['10.0.0.5:5432', '127.0.0.1:5432 > 10.0.0.5 5432'],
    ['15432:10.0.0.5:5432', '127.0.0.1:15432 > 10.0.0.5 5432'],
    ['15432:[fd00::5]:5432', '127.0.0.1:15432 > fd00::5 5432'],
    ['[::1]:15432:5432', '[::1]:15432 > - 5432'],
    ['127.0.0.2:15432:db:5432', '127.0.0.2:15432 > db 5432'],
    ['localhost:15432:5432', '127.0.0.1:15432 > - 5432'],
    ['0.0.0.0:80:web:80', '0.0.0.0:80 > web 80'],
    ['/run/user/1000/db:5432', '/run/user/1000/db > - 5432'],
    ['/tmp/.s.PGSQL.5432:db.internal:5432', '/tmp/.s.PGSQL.5432 > db.internal 5432'],
    // The instance itself by another name, which agents may refuse.
    ['localhost:80', '127.0.0.1:80 > - 80'],
    ['8080:127.0.0.1:80', '127.0.0.1:8080 > - 80'],
    ['8080:[::1]:80', '127.0.0.1:8080 > - 80'],
  ]) {
    t.equal(read(text!), meaning, text!);
  }
});

t.test('whatever is not in the grammar is refused', async (t) => {
  for (const text of [
    'db.internal:5432:1.2.3.4:80',
    '80:a:b:80',
    '1:2:3',
    'a b:80',
    '80:a b:80',
    '80:-x:80',
    '80:$(x):80',
    '[::1:80',
    '[]:80',
    'relative/path:x:80',
    '/path:80:db:80',
    'x\n:80',
  ]) {
    t.throws(() => parseForwarding(text), { code: 'bad-forwarding' }, JSON.stringify(text));
  }
  for (const text of ['', '0', '65536', '80:', '70000:80', 'http', '80:0']) {
    t.throws(() => parseForwarding(text), { code: 'bad-port' }, JSON.stringify(text));
  }
});

t.test('loopback and unix sockets are this machine alone', async (t) => {
  const open = ['0.0.0.0:1:2', '192.168.1.5:1:2', '[::]:1:2', '[fe80::1]:1:2'];
  for (const text of open) t.notOk(isOnLoopback(parseForwarding(text)), text);
  for (const text of ['1', '127.9.9.9:1:2', '[::1]:1:2', '/a:1']) t.ok(isOnLoopback(parseForwarding(text)), text);
});
