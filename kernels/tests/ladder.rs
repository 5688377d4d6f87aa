//! The steps of examples/ladder.rs, for shapes with incomplete blocks, panels and tiles.

#[allow(dead_code, reason = "the test measures nothing")]
#[path = "../examples/ladder.rs"]
mod ladder;

use likewise_kernels::Level;

#[test]
fn steps_of_the_ladder_agree_on_every_level() {
    for level in Level::available() {
        for (m, n, k) in [(1, 1, 1), (4, 8, 64), (13, 50, 70), (30, 140, 300)] {
            let problem = ladder::Problem::new(m, n, k);
            ladder::check(&mut ladder::steps(&problem, level), &problem);
        }
    }
}
