//! What a front end may ask of the storage tier: one trait, its requests and answers.
