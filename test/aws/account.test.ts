import t from 'tap';
import { accountOf } from '../../src/aws/account.ts';

t.test('the account is read from the id of a key', async (t) => {
  // A published pair: "A short note on AWS KEY ID", Tal Be'ery, 2023.
  t.equal(accountOf('ASIAQNZGKIQY56JQ7WML'), '029608264753');
});

t.test('keys of one account have one name, of whatever kind they are', async (t) => {
  t.equal(accountOf('AKIAQNZGKIQY56JQ7WML'), accountOf('ASIAQNZGKIQY56JQ7WML'));
  t.equal(
    accountOf('ASIAQNZGKIQY22222222'),
    accountOf('ASIAQNZGKIQY77777777').replace(/$/, ''),
    'whatever its other half',
  );
  t.not(accountOf('ASIAQNZGKIQY56JQ7WML'), accountOf('ASIARNZGKIQY56JQ7WML'));
});

t.test('an id of another form stands for itself', async (t) => {
  for (const id of ['', 'AKIA', 'test', 'AKIAIOSFODNN7EXAMPL1', 'akiaiosfodnn7example', `AKIA${'A'.repeat(17)}`]) {
    t.equal(accountOf(id), id);
  }
});
