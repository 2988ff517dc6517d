-- A visitor of a web shop thinks for a few milliseconds between requests.
function delay()
  return 4
end
