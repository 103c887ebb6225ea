//! Deep health of a system, judged apart from asking.
