-- The tables of a store as version 1 of their form made them. PostgreSQL takes them less WITHOUT ROWID.
CREATE TABLE answer (
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    writer TEXT,
    PRIMARY KEY ("key") )
WITHOUT ROWID;
CREATE TABLE audit (
    "key" TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    person TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    writer TEXT,
    PRIMARY KEY ("key") )
WITHOUT ROWID;
CREATE INDEX ix_audit_action ON audit (action);
CREATE INDEX ix_audit_created ON audit (created);
CREATE TABLE behavior (
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY ("key") )
WITHOUT ROWID;
CREATE TABLE calibration (
    "key" TEXT NOT NULL,
    judge TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY ("key") )
WITHOUT ROWID;
CREATE INDEX ix_calibration_judge ON calibration (judge);
CREATE TABLE component (
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY ("key") )
WITHOUT ROWID;
CREATE TABLE failure (
    id TEXT NOT NULL,
    "key" TEXT NOT NULL,
    stage INTEGER NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    error TEXT NOT NULL,
    hint TEXT NOT NULL,
    trace TEXT NOT NULL,
    writer TEXT,
    PRIMARY KEY (id) )
WITHOUT ROWID;
CREATE INDEX ix_failure_key ON failure ("key");
CREATE TABLE finding (
    "key" TEXT NOT NULL,
    run TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    value TEXT NOT NULL,
    writer TEXT,
    PRIMARY KEY ("key") )
WITHOUT ROWID;
CREATE INDEX ix_finding_created ON finding (created);
CREATE INDEX ix_finding_run ON finding (run);
CREATE TABLE label (
    "key" TEXT NOT NULL,
    run TEXT NOT NULL,
    value TEXT NOT NULL,
    writer TEXT,
    PRIMARY KEY ("key") )
WITHOUT ROWID;
CREATE INDEX ix_label_run ON label (run);
CREATE TABLE meta (
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY ("key") )
WITHOUT ROWID;
CREATE TABLE probe (
    "key" TEXT NOT NULL,
    judge TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY ("key") )
WITHOUT ROWID;
CREATE INDEX ix_probe_judge ON probe (judge);
CREATE TABLE "row" (
    "key" TEXT NOT NULL,
    label TEXT NOT NULL,
    asks INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    seconds DOUBLE PRECISION NOT NULL,
    cost DOUBLE PRECISION NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    writer TEXT,
    value TEXT NOT NULL,
    PRIMARY KEY ("key") )
WITHOUT ROWID;
CREATE TABLE run (
    "key" TEXT NOT NULL,
    name TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    spec TEXT NOT NULL,
    "plan" TEXT NOT NULL,
    PRIMARY KEY ("key"),
    UNIQUE (name) )
WITHOUT ROWID;
CREATE TABLE want (
    run TEXT NOT NULL,
    stage INTEGER NOT NULL,
    cell INTEGER NOT NULL,
    behavior INTEGER NOT NULL,
    number INTEGER NOT NULL,
    sample INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    PRIMARY KEY (run,
    stage,
    cell,
    behavior,
    number,
    sample) )
WITHOUT ROWID;
CREATE TABLE writer (
    "key" TEXT NOT NULL,
    started DOUBLE PRECISION NOT NULL,
    value TEXT,
    PRIMARY KEY ("key") )
WITHOUT ROWID;
