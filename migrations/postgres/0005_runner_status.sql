-- What stands ready on a runner, as it last said itself: templates, machines
-- that wait, what went wrong with them. Shown, and nothing else.
ALTER TABLE runners ADD COLUMN status TEXT;
ALTER TABLE runners ADD COLUMN status_at TIMESTAMPTZ;
