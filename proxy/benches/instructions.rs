//! Runs one pure step a given number of times and does nothing else, so that a tool can count its instructions.
//!
//! `bench/ratchet.py` runs it under callgrind twice with different numbers; the difference is the step's own cost.
//!
//! ```text
//! instructions                  lists the steps: name, a tab, the requests one run handles
//! instructions NAME RUNS        runs the step RUNS times
//! ```

mod steps;

fn main() {
    // cargo adds --bench
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    match words.as_slice() {
        [] => steps::all().iter().for_each(|step| println!("{}\t{}", step.name, step.requests)),
        [name, runs] => {
            let runs: u64 = runs.parse().expect("a number of runs");
            let mut step = steps::all().into_iter().find(|step| step.name == *name).expect("a step's name");
            for _ in 0..runs {
                (step.run)();
            }
        }
        _ => panic!("usage: instructions [NAME RUNS]"),
    }
}
