//! The bodies of the fuzz targets over made, damaged and found inputs: no panic, no stack that overflows, and no more
//! memory than the input can justify. One test, because the allocator counts for the whole process.
#![cfg_attr(
    test,
    expect(clippy::unwrap_used, reason = "a panic is how a test fails, and figures are for people")
)]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;

use acceptance_tests::workspace;
use peak_alloc::PeakAlloc;
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Inputs of each target, besides what was found before.
const INPUTS: u32 = 600;
/// Bytes that a body may hold at once whatever it is given: what it makes once, and messages.
const MEMORY: usize = 1024 * 1024;
/// Bytes that it may hold for each byte of its input. A list of nulls is one byte each in msgpack and about a hundred
/// as values, read twice, in vectors that double.
const MEMORY_A_BYTE: usize = 400;
/// Bytes of the largest inputs that are made here.
const LARGE: usize = 60_000;

type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// Every target of every crate.
fn targets() -> Vec<Target> {
    [
        nats_config::fuzz::TARGETS,
        host_state::fuzz::TARGETS,
        identity::fuzz::TARGETS,
        nats_agent_api::fuzz::TARGETS,
        nats_agent::fuzz::TARGETS,
        tfplug::fuzz::TARGETS,
        terraform_provider_nats::fuzz::TARGETS,
    ]
    .concat()
}

struct Random(TestRng);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.next_u64() % end.max(1) as u64).unwrap()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// One input: any bytes, a damaged seed, or one of the shapes that parsers trip over.
    fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        match self.below(10) {
            0 => {
                let count = self.below(300);
                self.bytes(count)
            }
            1 => self.shape(seeds),
            _ => {
                let mut bytes = seeds[self.below(seeds.len())].clone();
                for _ in 0..=self.below(3) {
                    self.damage(&mut bytes);
                }
                bytes
            }
        }
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let (at, end) = (self.below(bytes.len()), self.below(bytes.len()));
        let (from, to) = (at.min(end), at.max(end));
        match self.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            1 if !bytes.is_empty() => {
                bytes[at] = [0, 0x7f, 0x80, 0xff, b'"', b'{', b'9', b'-'][self.below(8)]
            }
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(from..to)),
            4 => bytes.extend(bytes[from..to].to_vec()),
            5 => {
                let copy = bytes[from..to].to_vec();
                bytes.splice(at..at, copy);
            }
            // Lengths of msgpack, protobuf and NATS that promise far more than there is.
            6 => {
                let lengths: [&[u8]; 6] = [
                    &[0xdd, 0xff, 0xff, 0xff, 0xff],
                    &[0xdf, 0xff, 0xff, 0xff, 0xff],
                    &[0xdb, 0xff, 0xff, 0xff, 0xff],
                    &[0xc9, 0xff, 0xff, 0xff, 0xff, 12],
                    &[0xff, 0xff, 0xff, 0xff, 0x0f],
                    b"99999999999999999999",
                ];
                let length = lengths[self.below(lengths.len())];
                bytes.splice(at..at, length.iter().copied());
            }
            _ => {
                let count = self.below(8);
                let more = self.bytes(count);
                bytes.splice(at..at, more);
            }
        }
    }

    /// Deep or long, at the beginning, in the middle of a seed, or alone.
    fn shape(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let units: [&[u8]; 14] = [
            b"[",
            b"{\"a\":",
            b"[[],",
            b"1,",
            b"\"\",",
            b"\\u0000",
            b"9",
            b".",
            b"-----BEGIN CERTIFICATE-----\n",
            &[0x91],
            &[0x81, 0xa1, b'a'],
            &[0xc0],
            &[0x92, 0xc4, 9, b'"', b'd', b'y', b'n', b'a', b'm', b'i', b'c', b'"'],
            &[0x30, 0x80],
        ];
        let unit = units[self.below(units.len())];
        let count = self.below(LARGE / unit.len());
        if self.below(8) == 0 {
            // A list of a dynamic value that is as long as it says.
            let count = u16::try_from(count).unwrap();
            let of = b"[\"list\",\"bool\"]";
            let head = [&[0, 0x92, 0xc4, of.len() as u8][..], of, &[0xdc], &count.to_be_bytes()].concat();
            return [head, vec![0xc0; usize::from(count)]].concat();
        }
        let run = unit.repeat(count);
        let mut bytes = if self.below(2) == 0 { seeds[self.below(seeds.len())].clone() } else { vec![1] };
        let at = self.below(bytes.len() + 1);
        bytes.splice(at..at, run);
        bytes
    }
}

/// What was found before stays tried: `fuzz/findings/TARGET/NAME`.
fn findings(target: &str) -> Vec<Vec<u8>> {
    let folder = workspace::root().join("fuzz/findings").join(target);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

/// A panic that is caught on the way, as the provider's calls do, is one all the same.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// How much `body` held at once for `input`, and what was wrong with it.
fn tried(body: impl Fn(&[u8]), input: &[u8]) -> (usize, Option<String>) {
    ALLOCATOR.reset_peak_usage();
    let held = ALLOCATOR.current_usage();
    let ended = panic::catch_unwind(AssertUnwindSafe(|| body(input)));
    let peak = ALLOCATOR.peak_usage().saturating_sub(held);
    let panics = std::mem::take(&mut *PANICS.lock().unwrap());
    let is_wrong = ended.is_err() || !panics.is_empty() || peak > MEMORY + MEMORY_A_BYTE * input.len();
    (peak, is_wrong.then(|| format!("{peak} held, {panics:?}")))
}

#[test]
fn no_input_panics_or_holds_more_memory_than_it_justifies() {
    let targets = targets();
    let names: BTreeSet<&str> = targets.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names.len(), targets.len(), "every target has a name of its own");

    let before = panic::take_hook();
    // This test can fail: a body that panics, also when it catches that itself, and one that takes what it is told.
    panic::set_hook(Box::new(|panic| PANICS.lock().unwrap().push(panic.to_string())));
    assert!(tried(|_| panic!("on purpose"), b"x").1.is_some());
    assert!(tried(|_| drop(panic::catch_unwind(|| panic!("on purpose"))), b"x").1.is_some());
    assert!(tried(|bytes| drop(vec![0_u8; bytes.len() << 20]), b"three").1.is_some());
    assert_eq!(tried(|bytes| drop(bytes.to_vec()), b"x").1, None);
    let seed: u64 = std::env::var("SEED").map_or(u64::from(std::process::id()), |seed| seed.parse().unwrap());
    let (mut count, mut wrong, mut worst) = (0_u64, Vec::new(), (0_usize, String::new()));
    for (name, body, seeds) in &targets {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut random = Random(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let seeds = seeds();
        // What is made once is made before it is counted.
        seeds.iter().for_each(|seed| body(seed));
        let mut inputs = [seeds.clone(), findings(name), vec![Vec::new()]].concat();
        inputs.extend((0..INPUTS).map(|_| random.input(&seeds)));
        for input in inputs {
            let (peak, problem) = tried(*body, &input);
            count += 1;
            wrong.extend(problem.map(|problem| {
                let start = String::from_utf8_lossy(&input[..input.len().min(200)]).into_owned();
                format!("{name}: {} bytes, {problem}: {start:?}", input.len())
            }));
            if peak > worst.0 {
                worst = (peak, format!("{name}, {} bytes", input.len()));
            }
        }
    }
    panic::set_hook(before);
    println!(
        "{count} inputs of {} targets (SEED={seed}); most memory {} bytes ({})",
        targets.len(),
        worst.0,
        worst.1
    );
    assert!(wrong.is_empty(), "SEED={seed}: {} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}
