//! The program says of each call what its parts say, each compiled by itself by another compiler.

use seccompiler::{
    SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::program::{AND, ARCHITECTURE, AT_LEAST, EQUAL, JUMP, LOAD, RETURN, Test};
use super::*;

const ARGUMENTS: usize = 6;

/// `struct seccomp_data`, seccomp(2).
struct Call {
    number: u32,
    architecture: u32,
    arguments: [u64; ARGUMENTS],
}

impl Call {
    /// The 32 bits that `struct seccomp_data` has at byte `at`.
    fn word(&self, at: u32) -> u32 {
        let instruction_pointer = [0, 0];
        let halves = |number: u64| [number as u32, (number >> 32) as u32];
        let words = [self.number, self.architecture]
            .into_iter()
            .chain(instruction_pointer)
            .chain(self.arguments.into_iter().flat_map(halves));
        words.collect::<Vec<_>>()[at as usize / 4]
    }
}

/// What a filter answers, and after how many steps: as the kernel's bpf(2) of the old kind, of which
/// it knows what filters are made of.
fn run(filter: &[sock_filter], call: &Call) -> (u32, usize) {
    const ABOVE: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
    let (mut at, mut accumulator) = (0, 0);
    for steps in 1..=filter.len() {
        let step = &filter[at];
        let skip = |is_so: bool| usize::from(if is_so { step.jt } else { step.jf });
        at += 1;
        match step.code {
            LOAD => accumulator = call.word(step.k),
            AND => accumulator &= step.k,
            EQUAL => at += skip(accumulator == step.k),
            ABOVE => at += skip(accumulator > step.k),
            AT_LEAST => at += skip(accumulator >= step.k),
            JUMP => at += step.k as usize,
            RETURN => return (step.k, steps),
            other => panic!("an instruction that this does not know: {other:#x}"),
        }
    }
    panic!("it goes on after its last step");
}

fn architecture() -> TargetArch {
    let name = std::env::consts::ARCH;
    name.try_into().expect("one that it knows")
}

/// A rule as the other compiler has it.
fn other_rule(rule: &ArgumentRule) -> SeccompRule {
    let conditions = rule.iter().map(|&Condition { argument, test }| {
        let half = SeccompCmpArgLen::Dword;
        let (len, operator, value) = match test {
            Test::Is(value) => (half, SeccompCmpOp::Eq, value),
            Test::IsNot(value) => (half, SeccompCmpOp::Ne, value),
            Test::Bits { mask, value } => (half, SeccompCmpOp::MaskedEq(mask.into()), value),
            Test::IsNull => (SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0),
        };
        SeccompCondition::new(argument, len, operator, value.into()).expect("a condition")
    });
    SeccompRule::new(conditions.collect()).expect("a rule")
}

/// What the parts say of a call, each compiled by itself and asked in its turn.
struct Parts(Vec<Vec<sock_filter>>);

impl Parts {
    fn of(policy: &Policy) -> Parts {
        let compiled = |calls: &Calls, otherwise: &SeccompAction, these: &SeccompAction| {
            let all = (0..c_long::from(calls::UNKNOWN)).filter_map(|call| match calls.find(call) {
                Found::Never => None,
                Found::Always => Some((call, Vec::new())),
                Found::ByArguments(rules) => Some((call, rules.iter().map(other_rule).collect())),
            });
            let (otherwise, these) = (otherwise.clone(), these.clone());
            SeccompFilter::new(all.collect(), otherwise, these, architecture())
                .and_then(TryInto::try_into)
                .expect("a filter")
        };
        let parts = policy.parts.iter();
        let mut all: Vec<_> = parts
            .map(|(calls, action)| compiled(calls, &SeccompAction::Allow, action))
            .collect();
        all.push(compiled(
            &policy.allowed,
            &policy.otherwise,
            &SeccompAction::Allow,
        ));
        Parts(all)
    }

    fn answer(&self, call: &Call) -> u32 {
        let answers = self.0.iter().map(|part| run(part, call).0);
        let allow = u32::from(SeccompAction::Allow);
        answers.into_iter().find(|a| *a != allow).unwrap_or(allow)
    }
}

/// Numbers as they come in arguments.
fn some_arguments(seed: &mut u64) -> [u64; ARGUMENTS] {
    std::array::from_fn(|_| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let drawn = *seed >> 33;
        match drawn % 8 {
            0 => 0,
            1 => u64::from(std::process::id()),
            2 => u64::MAX,
            3 => u64::from(u32::MAX),
            4 => libc::SIGSYS as u64,
            5 => 1 << (drawn / 8 % 40),
            6 => 1 << (drawn / 8 % 32) | 1 << (drawn / 256 % 32),
            _ => drawn / 8 % 64,
        }
    })
}

fn rules() -> Vec<Rules> {
    let path = || vec![b"/tmp".to_vec()];
    let with = |change: fn(&mut Rules, Vec<Vec<u8>>)| {
        let mut rules = Rules::default();
        change(&mut rules, path());
        rules
    };
    let mut all = vec![
        Rules::default(),
        with(|rules, path| rules.read = path),
        with(|rules, path| rules.write = path),
        with(|rules, path| rules.execute = path),
        with(|rules, _| rules.connect = vec![80]),
        with(|rules, _| rules.listen = vec![80]),
        with(|rules, path| {
            rules.write.clone_from(&path);
            rules.execute = path;
            rules.connect = vec![80];
        }),
    ];
    let killing: Vec<Rules> = all.clone();
    all.extend(killing.into_iter().map(|rules| Rules {
        kill: true,
        ..rules
    }));
    all
}

#[test]
fn it_says_of_each_call_what_its_parts_say() {
    let mut seed = 7;
    for (rules, landlock) in rules().iter().flat_map(|rules| [(rules, 0), (rules, 7)]) {
        let policy = policy(rules, landlock);
        let (filter, parts) = (of(rules, landlock), Parts::of(&policy));
        for number in 0..calls::UNKNOWN {
            let looks = policy.answer_to(number.into()).is_none();
            for _ in 0..if looks { 300 } else { 2 } {
                let call = Call {
                    number,
                    architecture: ARCHITECTURE,
                    arguments: some_arguments(&mut seed),
                };
                assert_eq!(
                    run(&filter, &call).0,
                    parts.answer(&call),
                    "call {number} with {:x?}, {rules:?}",
                    call.arguments
                );
            }
        }
    }
}

#[test]
fn other_architectures_and_other_numbers_have_their_answers() {
    let filter = of(&Rules::default(), 7);
    let answer = |number, architecture| {
        let arguments = [0; ARGUMENTS];
        run(
            &filter,
            &Call {
                number,
                architecture,
                arguments,
            },
        )
        .0
    };
    let kill = u32::from(SeccompAction::KillProcess);
    let unknown = u32::from(SeccompAction::Errno(libc::ENOSYS as u32));
    for number in [0, 1, calls::UNKNOWN - 1, calls::UNKNOWN, u32::MAX] {
        assert_eq!(answer(number, ARCHITECTURE + 1), kill, "{number}");
    }
    assert_eq!(answer(calls::UNKNOWN, ARCHITECTURE), unknown);
    assert_eq!(answer(0x3fff_ffff, ARCHITECTURE), unknown);
    for number in [0x4000_0000, 0x4000_0001, u32::MAX] {
        assert_eq!(answer(number, ARCHITECTURE), kill, "{number:#x}");
    }
}

/// What is longer takes longer to install, before each first task.
#[test]
fn it_is_short() {
    for rules in rules() {
        let filter = of(&rules, 7);
        assert!(filter.len() < 600, "{} steps: {rules:?}", filter.len());
        let call = |number| Call {
            number,
            architecture: ARCHITECTURE,
            arguments: [0; ARGUMENTS],
        };
        let most = (0..calls::UNKNOWN).map(|number| run(&filter, &call(number)).1);
        let mean = most.sum::<usize>() / calls::UNKNOWN as usize;
        assert!(mean <= 20, "{mean} steps for a call: {rules:?}");
    }
}

#[test]
fn all_numbers_are_below_the_unknown_ones() {
    let lists = [
        ALLOWED,
        ALLOWED_OLD,
        ABSENT,
        ASKING,
        CHANGING,
        LOOKING,
        NEVER,
        OPENING,
    ];
    for call in lists.iter().copied().flatten() {
        assert!((0..c_long::from(calls::UNKNOWN)).contains(call), "{call}");
    }
}
