CREATE OR REPLACE FUNCTION total() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE sum integer := 0;
BEGIN
  FOR i IN 1 .. STEPS LOOP sum := (sum + i) % 65537; END LOOP;
  RETURN sum;
END $$;
