//! Changes of the claims section: read, merge, sign, push.
