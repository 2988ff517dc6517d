-- Visitors who read a page before they ask for the next.
-- usage: wrk -s THIS …
function delay()
  return math.random(10, 50)
end
