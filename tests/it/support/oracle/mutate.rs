//! Mutates hostile input: inserts, deletes, doubles and swaps bytes, splices two inputs, changes line ends, and cuts
//! segments anywhere. The same seed gives the same inputs.

/// What is inserted most often: bytes that parsers disagree about.
const MORSELS: [&[u8]; 44] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\r\n",
    b"\n\r\n",
    b"\r\n\r\n",
    b"\0",
    b"\t",
    b" ",
    b"\x0b",
    b"\x0c",
    b"\x7f",
    b"\x80",
    b"\xff",
    b":",
    b",",
    b";",
    b"#",
    b"?",
    b"%",
    b"%0d%0a",
    b"/..",
    b"0",
    b"1",
    b"f",
    b"+",
    b"-",
    b"0x",
    b"chunked",
    b"identity",
    b"close",
    b"keep-alive",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: b\r\n",
    b"Connection: close\r\n",
    b"Connection: X-Nonce, Host\r\n",
    b"Expect: 100-continue\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"GET /more HTTP/1.1\r\nHost: more\r\n\r\n",
];

/// Repeatable random numbers (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The same seed gives the same numbers.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, 0 when that is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound.max(1) as u64) as usize
    }

    /// One of several values.
    pub(crate) fn one_of<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[self.below(things.len())]
    }

    /// True with probability 1 in `many`.
    pub(crate) fn is_one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    /// Cuts bytes into segments: often none, rarely single bytes.
    pub(crate) fn pieces(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        if bytes.is_empty() || self.is_one_in(2) {
            return vec![bytes.to_vec()];
        }
        let mut cuts: Vec<usize> = (0..=self.below(4)).map(|_| self.below(bytes.len())).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let mut start = 0;
        let pieces = cuts.into_iter().map(|cut| {
            let piece = bytes[start..cut].to_vec();
            start = cut;
            piece
        });
        pieces.filter(|piece| !piece.is_empty()).collect()
    }
}

/// Makes another input from one of `inputs`.
pub(crate) fn mutate(inputs: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = dice.one_of(inputs).clone();
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len() + 1);
        let end = (at + 1 + dice.below(12)).min(bytes.len());
        match dice.below(9) {
            0 => {
                let morsel = *dice.one_of(&MORSELS);
                insert(&mut bytes, at, morsel);
            }
            1 => insert(&mut bytes, at, &[dice.below(256) as u8]),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let doubled = bytes[at..end].to_vec();
                insert(&mut bytes, at, &doubled);
            }
            4 if !bytes.is_empty() => {
                let (one, other) = (dice.below(bytes.len()), dice.below(bytes.len()));
                bytes.swap(one, other);
            }
            5 => {
                let other = dice.one_of(inputs);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[dice.below(other.len() + 1)..]);
            }
            6 => change_line_end(&mut bytes, dice),
            7 => double_line(&mut bytes, dice),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
        }
    }
    bytes
}

fn insert(bytes: &mut Vec<u8>, at: usize, what: &[u8]) {
    bytes.splice(at..at, what.iter().copied());
}

fn change_line_end(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let ends: Vec<usize> = (0..bytes.len())
        .filter(|at| bytes[*at..].starts_with(b"\r\n"))
        .collect();
    if ends.is_empty() {
        return;
    }
    let at = *dice.one_of(&ends);
    let ends: [&[u8]; 9] = [
        b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n ", b"\r\n\t", b"", b" \r\n", b"\0\r\n",
    ];
    bytes.splice(at..at + 2, dice.one_of(&ends).iter().copied());
}

/// Repeats one line at another place.
fn double_line(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let starts: Vec<usize> = (0..=bytes.len())
        .filter(|at| *at == 0 || bytes[*at - 1] == b'\n')
        .collect();
    let (from, to) = (*dice.one_of(&starts), *dice.one_of(&starts));
    let length = bytes[from..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let line = bytes[from..from + length].to_vec();
    insert(bytes, to, &line);
}
