//! Front and applier with the border between them: the real ones over a real socket, and peers that mean no good.
#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up must fail")]

#[path = "border/coming_and_going.rs"]
mod coming_and_going;
#[path = "border/hostile.rs"]
mod hostile;
#[path = "border/processes.rs"]
mod processes;
#[expect(dead_code, reason = "of the applier's own tests; some of it is used here")]
#[path = "applier/rig.rs"]
mod rig;
#[expect(dead_code, reason = "of the front's own tests; some of it is used here")]
#[path = "front/scripted.rs"]
mod scripted;
#[path = "border/whole.rs"]
mod whole;
#[path = "border/world.rs"]
mod world;
