import { parse } from 'smol-toml';
import t from 'tap';
import { findPlaces, placeName } from '../src/toml-places.ts';

const text = `# a = 1
a = 1 # b = 2
'quoted' = """
b = 2
"""  
list = [ 1, # [c]
  "x]", { in = 1 },
]
  d.e = '''
[d.f]'''

[t."x.y"]
k = "="
"a\\u0062" = 2024-01-01T10:00:00Z

[[rows]]
n = 1
[[rows]]
n = 2
[last]
inline = { one = 1, two = { three = "}" }, "f o" = [ [ 1 ], 2 ] }
end = 1.5e3`;

t.test('every key and table has the place where it is first named', async (t) => {
  parse(text);
  const places = findPlaces(text);
  for (const [path, line, column] of [
    [['a'], 2, 1],
    [['quoted'], 3, 1],
    [['list'], 6, 1],
    [['list', 'in'], 7, 11],
    [['d', 'e'], 9, 3],
    [['t', 'x.y'], 12, 1],
    [['t', 'x.y', 'k'], 13, 1],
    [['t', 'x.y', 'ab'], 14, 1],
    [['rows'], 16, 1],
    [['rows', 'n'], 17, 1],
    [['last', 'inline', 'one'], 21, 12],
    [['last', 'inline', 'two', 'three'], 21, 29],
    [['last', 'inline', 'f o'], 21, 44],
    [['last', 'end'], 22, 1],
  ] as const) {
    t.strictSame(places.get(placeName([...path])), { line, column }, path.join(' '));
  }
  t.equal(places.size, 17, 'and nothing else has one');
});

t.test('what is no TOML ends too', async (t) => {
  for (const wrong of ['[', ']', '=', 'a = [', '{', 'a', 'a = {b', ',,,', '"""', "a = '"]) findPlaces(wrong);
  t.pass();
});
