"""Fine-tuning stages, one file each. TRL, PEFT, accelerate and datasets do the work.

How to write a stage: one frozen dataclass in a file of its name. Its fields are hyperparameters, and its
`train(base, rows, folder, how)` keeps the promises of `withstand.core.stage.Stage`; `withstand.core.stage.How` says
what `how` holds. Three ways:

- *It changes the rows* (`safety_mix`): take another stage as a field, `stage: Stage`, and call its `train` with other
  rows and `how.inside(self)`. Nothing else is to be done: the inner stage saves, resumes and records.
- *It changes the loss or the steps* (`constrained_sft`, `lisa`): take a stage as a field too, and call its `train`
  with `how.inside(self, change)`, a function from TRL's trainer class to a subclass of it. One that attacks the model
  while it trains it (`r2d2`) takes an attack with `begun_at`, and shows it the model by `_view.View`.
- *It is another method* (`dpo`, `rl`): make the TRL trainer and hand it to `_run.train`, which saves, resumes after a
  kill, watches the loss and writes the record. `_model.load` gives model, tokenizer and adapter for `method`.

A folder that a stage made loads as a target: `hf:FOLDER` where it trained all weights, `hf:BASE,adapter=FOLDER` where
it trained an adapter. `chain.train` runs stages one after the other, merges what has to be merged, and skips what is
there.
"""
