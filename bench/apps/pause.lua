-- Clients of wrk that pause after each answer, for milliseconds.
function delay() return math.random(0, 4) end
