//! The measuring: two ways to do the same, in turns, since a shared machine is seldom as fast as a moment ago.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

/// How often both ways are measured; odd, so that there is a middle one.
const ROUNDS: usize = 61;

/// How long one way takes in a round: short, so that both meet the same conditions.
const ROUND: Duration = Duration::from_millis(10);

/// How many keys are used in turn.
pub(crate) const KEYS: usize = 1024;

/// The sizes of values, in bytes.
pub(crate) const SIZES: [usize; 2] = [256, 16 * 1024];

/// How many tasks call at the same time.
pub(crate) const TASKS: [usize; 3] = [1, 64, 512];

/// How many items a batch has.
pub(crate) const BATCH: usize = 64;

/// Calls, by their numbers, in a task: a factory of futures that share what is listed first.
macro_rules! calls {
    ([$($shared:ident),*] $number:ident => $call:expr) => {{
        $(let $shared = $shared.clone();)*
        move |numbers: std::ops::Range<usize>| {
            $(let $shared = $shared.clone();)*
            async move {
                for $number in numbers {
                    std::hint::black_box($call);
                }
            }
        }
    }};
}
pub(crate) use calls;

pub(crate) struct Bench {
    pub(crate) runtime: Runtime,
    measure: bool,
    /// What a row's name has in it, to be measured.
    rows: String,
}

impl Bench {
    /// One that measures, or only tries whether everything works.
    pub(crate) fn new(measure: bool, rows: String) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().enable_all().build()?;
        Ok(Self {
            runtime,
            measure,
            rows,
        })
    }

    /// Begins a table.
    pub(crate) fn table(&self, title: &str, first: &str, second: &str) {
        println!("\n### {title}\n");
        println!("| | tasks | {first} | {second} | ratio | middle half |");
        println!("|---|--:|--:|--:|--:|--:|");
    }

    /// Measures two ways in turns, and prints a row: the median time of a call each, and the median of the
    /// ratios of the second to the first in a round, with the range of the middle half of these.
    ///
    /// A call that does `items` things counts as that many.
    pub(crate) fn row<A, B>(
        &self,
        name: &str,
        tasks: usize,
        first: (usize, impl Fn(Range<usize>) -> A),
        second: (usize, impl Fn(Range<usize>) -> B),
    ) where
        A: Future<Output = ()> + Send + 'static,
        B: Future<Output = ()> + Send + 'static,
    {
        if !name.contains(&self.rows) {
            return;
        }
        let first = |limit| self.time(tasks, limit, first.0, &first.1);
        let second = |limit| self.time(tasks, limit, second.0, &second.1);
        if !self.measure {
            first(Limit::Calls(1));
            second(Limit::Calls(1));
            return;
        }
        let limits = [first(Limit::Find).1, second(Limit::Find).1].map(Limit::Calls);
        let [mut firsts, mut seconds, mut ratios] = [const { Vec::new() }; 3];
        for round in 0..ROUNDS {
            // Whoever comes second in a round has the warmer caches, or the throttled processor.
            let (first, second) = match round % 2 {
                0 => {
                    let first = first(limits[0]).0;
                    (first, second(limits[1]).0)
                }
                _ => {
                    let second = second(limits[1]).0;
                    (first(limits[0]).0, second)
                }
            };
            firsts.push(first);
            seconds.push(second);
            ratios.push(second / first);
        }
        let [first, second, ratio] =
            [&mut firsts, &mut seconds, &mut ratios].map(|all| quantile(all, 2));
        let (low, high) = (quantile(&mut ratios, 1), quantile(&mut ratios, 3));
        println!(
            "| {name} | {tasks} | {} | {} | {ratio:.2} | {low:.2}–{high:.2} |",
            shown(first),
            shown(second)
        );
    }

    /// The nanoseconds that one item takes, over all tasks, and how many calls a task made.
    fn time<F: Future<Output = ()> + Send + 'static>(
        &self,
        tasks: usize,
        limit: Limit,
        items: usize,
        calls: impl Fn(Range<usize>) -> F,
    ) -> (f64, usize) {
        let mut each = match limit {
            Limit::Calls(each) => each,
            Limit::Find => 1,
        };
        loop {
            let begin = Instant::now();
            self.runtime.block_on(async {
                let task = |task| tokio::spawn(calls(task * each..(task + 1) * each));
                let tasks: Vec<_> = (0..tasks).map(task).collect();
                for task in tasks {
                    task.await.expect("a call fails");
                }
            });
            let took = begin.elapsed();
            if matches!(limit, Limit::Find) && took < ROUND {
                each *= 2;
                continue;
            }
            let done = (tasks * each * items) as f64;
            return (took.as_secs_f64() * 1e9 / done, each);
        }
    }
}

/// How many calls each task makes.
#[derive(Clone, Copy)]
enum Limit {
    Calls(usize),
    /// As many as take a round.
    Find,
}

/// The first quartile, the median or the third quartile.
fn quantile(all: &mut [f64], quarter: usize) -> f64 {
    all.sort_by(f64::total_cmp);
    all[(all.len() - 1) * quarter / 4]
}

fn shown(nanoseconds: f64) -> String {
    match nanoseconds {
        0.0..1000.0 => format!("{nanoseconds:.0} ns"),
        _ => format!("{:.1} µs", nanoseconds / 1000.0),
    }
}
